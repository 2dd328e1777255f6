// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Where QEMU, the kernel and busybox are found.
//!
//! The environment decides first: `VMBENCH_QEMU` (a command and its first arguments, split at
//! spaces), `VMBENCH_KERNEL` and `VMBENCH_BUSYBOX` (paths). What they leave open comes from the script
//! `sandbox/info`, which prints one `KEY=VALUE` per line, for the kernel that `KERNEL` names or the default.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{Error, Result};

const QEMU: &str = "qemu-system-x86_64";

/// The directory of the checkout that this was compiled in.
pub fn checkout() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .ancestors()
        .nth(3)
        .expect("the package lies in tools/tests")
}

/// The command that starts QEMU: a program and its first arguments. `VMBENCH_QEMU`, split at spaces, or the
/// sandbox's.
pub fn qemu() -> Result<Vec<String>> {
    match std::env::var("VMBENCH_QEMU") {
        Ok(command) => Ok(command.split_whitespace().map(str::to_string).collect()),
        Err(_) => Ok(vec![info("ENTER", "VMBENCH_QEMU")?, QEMU.into()]),
    }
}

/// The kernel image that guests boot unless they are given another.
pub(crate) fn kernel() -> Result<PathBuf> {
    path("VMLINUZ", "VMBENCH_KERNEL")
}

/// The image of the sandbox's kernel that `tools/scripts/sandbox/kernels` calls so, whatever other guests boot.
pub fn sandbox_kernel(name: &str) -> Result<PathBuf> {
    let info = ask(Some(name)).map_err(Error::Setup)?;
    let image = info
        .get("VMLINUZ")
        .ok_or_else(|| Error::Setup(missing("VMLINUZ")))?;
    Ok(image.into())
}

/// A statically linked busybox.
pub(crate) fn busybox() -> Result<PathBuf> {
    path("BUSYBOX", "VMBENCH_BUSYBOX")
}

/// A module of the kernel that guests boot by default, such as `drivers/block/virtio_blk`; `None` if
/// `VMBENCH_KERNEL` names another kernel, which is taken to have it built in.
pub fn kernel_module(name: &str) -> Result<Option<PathBuf>> {
    if std::env::var_os("VMBENCH_KERNEL").is_some() {
        return Ok(None);
    }
    let directory = PathBuf::from(info("MODULES_DIR", "VMBENCH_KERNEL")?);
    Ok(Some(directory.join(format!("kernel/{name}.ko.xz"))))
}

/// What a guest's memory has at least: `VMBENCH_MEMORY_MIB`, for a kernel that needs much.
pub(crate) fn least_memory_mib() -> Result<u32> {
    match std::env::var("VMBENCH_MEMORY_MIB") {
        Ok(text) => text
            .parse()
            .map_err(|_| Error::Setup(format!("VMBENCH_MEMORY_MIB={text} is not a number"))),
        Err(_) => Ok(0),
    }
}

fn path(key: &str, variable: &str) -> Result<PathBuf> {
    match std::env::var_os(variable) {
        Some(path) => Ok(path.into()),
        None => Ok(info(key, variable)?.into()),
    }
}

fn info(key: &str, variable: &str) -> Result<String> {
    static INFO: OnceLock<std::result::Result<HashMap<String, String>, String>> = OnceLock::new();
    let advice = || format!("run `make sandbox` once, or set {variable}");
    let info = INFO
        .get_or_init(|| ask(None))
        .as_ref()
        .map_err(|reason| Error::Setup(format!("{reason}; {}", advice())))?;
    info.get(key)
        .cloned()
        .ok_or_else(|| Error::Setup(format!("{}; {}", missing(key), advice())))
}

fn missing(key: &str) -> String {
    format!("sandbox/info does not print {key}")
}

/// What `sandbox/info` says of the kernel with this name, or of the one that the environment names.
fn ask(kernel: Option<&str>) -> std::result::Result<HashMap<String, String>, String> {
    let script = checkout().join("tools/scripts/sandbox/info");
    let output = Command::new(&script)
        .envs(kernel.map(|name| ("KERNEL", name)))
        .output()
        .map_err(|error| format!("{}: {error}", script.display()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", script.display(), stderr.trim()));
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(text: &str) -> HashMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_hold_anything_but_a_newline() {
        let info = parse("ENTER=unshare --mount sh x=1\nVMLINUZ=/a b\n\nnoise\n");
        assert_eq!(info["ENTER"], "unshare --mount sh x=1");
        assert_eq!(info["VMLINUZ"], "/a b");
        assert_eq!(info.len(), 2);
    }
}
