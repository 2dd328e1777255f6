// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Where the built module and the guest programs are.

use std::path::{Path, PathBuf};
use std::process::Command;

use vmbench::checkout;

/// The width of a guest program's pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Built with `-m64`.
    Bits64,
    /// Built with `-m32`.
    Bits32,
}

/// The kernel module: `IVSHMEM_GUEST_MODULE`, for a kernel of one's own, else the one that was built.
pub fn module() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("IVSHMEM_GUEST_MODULE") {
        return Ok(path.into());
    }
    existing(checkout().join("build/module/ivshmem_rs.ko"))
}

/// The command that runs another with the sandbox's programs.
pub fn enter() -> PathBuf {
    checkout().join("tools/scripts/sandbox/enter")
}

/// A C program for guests, by the name of its source file.
pub fn program(name: &str, width: Width) -> Result<PathBuf, String> {
    let directory = match width {
        Width::Bits64 => "build/guest",
        Width::Bits32 => "build/guest32",
    };
    existing(checkout().join(directory).join(name))
}

/// A script that comes with the samples.
pub fn sample_script(name: &str) -> Result<PathBuf, String> {
    existing(checkout().join("samples").join(name))
}

/// The names of a guest program's cases, as it lists them itself.
pub fn cases(program: &Path) -> Result<Vec<String>, String> {
    let output = Command::new(program)
        .arg("--list")
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if !output.status.success() {
        return Err(format!("{} --list: {}", program.display(), output.status));
    }
    let names = String::from_utf8_lossy(&output.stdout);
    let names: Vec<_> = names.lines().map(str::to_string).collect();
    match names.is_empty() {
        true => Err(format!("{} lists no cases", program.display())),
        false => Ok(names),
    }
}

fn existing(path: PathBuf) -> Result<PathBuf, String> {
    match path.exists() {
        true => Ok(path),
        false => Err(format!("{} is not built: run `make test`", path.display())),
    }
}
