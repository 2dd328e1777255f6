// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Builds programs of this workspace for guests: statically linked, so that they run without any
//! library.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::sandbox::checkout;
use crate::{Error, Result};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the program `binary` of the workspace's package `package` and returns its path.
///
/// The program is optimised and statically linked against glibc. Blocks while cargo builds, which is
/// a fraction of a second if nothing changed. Uses a target directory of its own, so neither a
/// cargo that waits for the caller nor other flags get in its way.
pub fn static_binary(package: &str, binary: &str) -> Result<PathBuf> {
    Ok(static_binaries(package, &[binary])?.join(binary))
}

/// Builds several programs of a package, as [`static_binary`], and returns the directory that they are in.
pub fn static_binaries(package: &str, binaries: &[&str]) -> Result<PathBuf> {
    let workspace = checkout().join("tools");
    let target_dir = workspace.join("target/static");
    let directory = target_dir.join(TARGET).join("release");
    if binaries.iter().any(|name| !directory.join(name).exists()) {
        let names = binaries.join(", ");
        // Not by a macro, whose text tests keep to themselves: who waits is to see it.
        let text = format!("Building {names}, statically: minutes the first time\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(workspace)
        .args(["build", "--quiet", "--release", "--target", TARGET])
        .args(["--package", package])
        .args(binaries.iter().flat_map(|binary| ["--bin", *binary]))
        .arg("--target-dir")
        .arg(&target_dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_PROFILE_RELEASE_STRIP", "true")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .map_err(Error::io("cargo"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Setup(format!(
            "cannot build {} statically: {}",
            binaries.join(", "),
            stderr.trim()
        )));
    }
    Ok(directory)
}

/// The agent: `VMBENCH_AGENT` if that is set, else built from this workspace.
pub(crate) fn agent() -> Result<PathBuf> {
    match std::env::var_os("VMBENCH_AGENT") {
        Some(path) => Ok(path.into()),
        None => static_binary("vmbench-agent", "vmbench-agent"),
    }
}

/// The server: `IVSHMEM_SERVER` if that is set, else built from this workspace.
pub(crate) fn server() -> Result<PathBuf> {
    match std::env::var_os("IVSHMEM_SERVER") {
        Some(path) => Ok(path.into()),
        None => static_binary("ivshmem-server", "ivshmem-server"),
    }
}
