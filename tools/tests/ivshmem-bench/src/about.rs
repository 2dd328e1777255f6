// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Where a measurement is made.

use std::process::Command;

use anyhow::{Context, Result};
use vmbench::Accel;

use crate::report::About;

/// Describes this machine and what it runs.
pub fn about(accel: Accel) -> Result<About> {
    Ok(About {
        version: env!("CARGO_PKG_VERSION").into(),
        kernel: kernel()?,
        qemu: qemu()?,
        accel: match accel {
            Accel::Tcg => "tcg",
            Accel::Kvm => "kvm",
        }
        .into(),
        cpu: cpu(),
        cpus: std::thread::available_parallelism()?.get(),
    })
}

/// The release that the module was built for, which is the guests'.
pub fn kernel() -> Result<String> {
    let path = vmbench::checkout().join("build/module/kernel");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let release = text.split_whitespace().nth(1);
    Ok(release.unwrap_or("unknown").to_string())
}

/// The version that QEMU says.
pub fn qemu() -> Result<String> {
    let words = vmbench::qemu()?;
    let output = Command::new(&words[0])
        .args(&words[1..])
        .arg("--version")
        .output()
        .with_context(|| words.join(" "))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split("version ").nth(1).unwrap_or("unknown");
    Ok(version
        .split_whitespace()
        .next()
        .unwrap_or("unknown")
        .to_string())
}

fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']))
        .to_string()
}
