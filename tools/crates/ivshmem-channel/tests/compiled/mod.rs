// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Programs in C with `include/ivshmem_channel.h`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles `tests/c/{name}.c`.
pub fn compile_by(compiler: &str, directory: &Path, name: &str, words: &[&str]) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = directory.join(name);
    let status = Command::new(compiler)
        .args(["-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
        .args(words)
        .arg("-I")
        .arg(package.join("../../../include"))
        .arg(package.join(format!("tests/c/{name}.c")))
        .arg("-o")
        .arg(&program)
        .status()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(status.success());
    program
}
