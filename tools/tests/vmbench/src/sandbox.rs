// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Where QEMU, the kernel and busybox are found.
//!
//! The environment decides first: `VMBENCH_QEMU` (a command and its first arguments, split at
//! spaces), `VMBENCH_KERNEL` (a path, of a kernel for x86) and `VMBENCH_BUSYBOX` (a path). What they leave open comes
//! from the script `sandbox/info`, which prints one `KEY=VALUE` per line, for the kernel that `KERNEL` names or the
//! default.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::arch::Arch;
use crate::{Error, Result};

/// The directory of the checkout that this was compiled in.
pub fn checkout() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .ancestors()
        .nth(3)
        .expect("the package lies in tools/tests")
}

/// The command that starts QEMU for guests that boot the default kernel: a program and its first arguments.
/// `VMBENCH_QEMU`, split at spaces, or the sandbox's.
pub fn qemu() -> Result<Vec<String>> {
    Sandbox::default().qemu()
}

/// A module of the kernel that guests boot by default, such as `drivers/block/virtio_blk`; `None` if
/// `VMBENCH_KERNEL` names another kernel, which is taken to have it built in.
pub fn kernel_module(name: &str) -> Result<Option<PathBuf>> {
    if std::env::var_os("VMBENCH_KERNEL").is_some() {
        return Ok(None);
    }
    let directory = PathBuf::from(Sandbox::default().info("MODULES_DIR", "VMBENCH_KERNEL")?);
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

/// The part of the sandbox that one of its kernels needs: by the kernel's name in
/// `tools/scripts/sandbox/kernels`, or that of the default kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sandbox(Option<String>);

impl Sandbox {
    /// That of the kernel with this name.
    pub fn named(kernel: impl Into<String>) -> Self {
        Self(Some(kernel.into()))
    }

    /// The architecture of the kernel.
    pub fn arch(&self) -> Result<Arch> {
        if self.overruled().is_some() {
            return Ok(Arch::X86);
        }
        Arch::parse(&self.info("KERNEL_ARCH", "VMBENCH_KERNEL")?)
    }

    /// The command that starts QEMU.
    pub fn qemu(&self) -> Result<Vec<String>> {
        match std::env::var("VMBENCH_QEMU") {
            Ok(command) => Ok(command.split_whitespace().map(str::to_string).collect()),
            Err(_) => {
                let mut words = self.enter()?;
                words.push(self.arch()?.qemu().into());
                Ok(words)
            }
        }
    }

    /// The command that runs another with the sandbox's programs.
    pub fn enter(&self) -> Result<Vec<String>> {
        let enter = self.info("ENTER", "VMBENCH_QEMU")?;
        Ok(match &self.0 {
            Some(name) => vec!["env".into(), format!("KERNEL={name}"), enter],
            None => vec![enter],
        })
    }

    /// The C compiler for programs of its guests.
    pub fn compiler(&self) -> Result<String> {
        self.info("KERNEL_CC", "VMBENCH_AGENT")
    }

    /// The kernel's image.
    pub fn kernel(&self) -> Result<PathBuf> {
        match self.overruled() {
            Some(path) => Ok(path),
            None => Ok(self.info("VMLINUZ", "VMBENCH_KERNEL")?.into()),
        }
    }

    /// A statically linked busybox for its guests.
    pub fn busybox(&self) -> Result<PathBuf> {
        match std::env::var_os("VMBENCH_BUSYBOX") {
            Some(path) => Ok(path.into()),
            None => Ok(self.info("BUSYBOX", "VMBENCH_BUSYBOX")?.into()),
        }
    }

    /// The image that the environment wants in place of the default kernel.
    fn overruled(&self) -> Option<PathBuf> {
        match self.0 {
            Some(_) => None,
            None => std::env::var_os("VMBENCH_KERNEL").map(PathBuf::from),
        }
    }

    /// A line of what `sandbox/info` says; `variable` is what can be set instead.
    fn info(&self, key: &str, variable: &str) -> Result<String> {
        static ANSWERS: LazyLock<Mutex<HashMap<Option<String>, Answer>>> =
            LazyLock::new(Mutex::default);
        let advice = || format!("run `make sandbox` once, or set {variable}");
        let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers
            .entry(self.0.clone())
            .or_insert_with(|| ask(self.0.as_deref()));
        let info = answer
            .as_ref()
            .map_err(|reason| Error::Setup(format!("{reason}; {}", advice())))?;
        info.get(key)
            .cloned()
            .ok_or_else(|| Error::Setup(format!("sandbox/info does not print {key}; {}", advice())))
    }
}

/// What the script prints, or why it fails.
type Answer = std::result::Result<HashMap<String, String>, String>;

/// What `sandbox/info` says of the kernel with this name, or of the one that the environment names.
fn ask(kernel: Option<&str>) -> Answer {
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
