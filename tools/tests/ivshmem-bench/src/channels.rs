// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Programs of the host that send each other messages.

use std::path::Path;
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::series::{self, Run, Unit};

/// How often each is measured in a run.
const TURNS: &str = "16";

/// Builds what is measured.
pub fn build() -> Result<()> {
    let tools = vmbench::checkout().join("tools");
    cargo(&tools, &["--package", "channel-bench"])?;
    let rival = tools.join("tests/iceoryx2-bench");
    let target = tools.join("target/iceoryx2");
    let target = target.to_str().context("a path that is no text")?;
    cargo(&rival, &["--target-dir", target])
        .context("iceoryx2, the rival, needs libclang: Debian's package libclang-dev")
}

/// Measures once.
pub fn measure(run: &mut Run) -> Result<()> {
    for program in ["release/channel-bench", "iceoryx2/release/iceoryx2-bench"] {
        run.extend(output(program)?);
    }
    Ok(())
}

fn cargo(directory: &Path, arguments: &[&str]) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(directory);
    cargo.args(["build", "--quiet", "--release", "--locked"]);
    let status = cargo.args(arguments).status().context("cargo")?;
    ensure!(status.success(), "not built: {}", arguments.join(" "));
    Ok(())
}

/// The series of a program in the target directory.
fn output(program: &str) -> Result<Run> {
    let path = vmbench::checkout().join("tools/target").join(program);
    let output = Command::new(&path).arg(TURNS).output();
    let output = output.with_context(|| path.display().to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {said}");
    series::parse(&String::from_utf8(output.stdout)?, Unit::Nanoseconds)
}
