// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Programs of the host: channels, and the server.

use std::path::Path;
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::series::{self, Run, Unit};

/// How often each channel is measured in a run.
const TURNS: &str = "16";

/// Builds what channels are measured with.
pub fn build_channels() -> Result<()> {
    let tools = vmbench::checkout().join("tools");
    build(&tools, &["--package", "channel-bench"])?;
    let rival = tools.join("tests/iceoryx2-bench");
    let target = tools.join("target/iceoryx2");
    let target = target.to_str().context("a path that is no text")?;
    build(&rival, &["--target-dir", target])
        .context("iceoryx2, the rival, needs libclang: Debian's package libclang-dev")
}

/// Measures channels once.
pub fn channels(run: &mut Run) -> Result<()> {
    for program in ["release/channel-bench", "iceoryx2/release/iceoryx2-bench"] {
        let path = vmbench::checkout().join("tools/target").join(program);
        run.extend(output(Command::new(&path).arg(TURNS), program)?);
    }
    Ok(())
}

/// Measures the server once.
pub fn server(run: &mut Run) -> Result<()> {
    let tools = vmbench::checkout().join("tools");
    let mut cargo = cargo(&tools);
    cargo.args([
        "bench",
        "--quiet",
        "--locked",
        "--package",
        "ivshmem-server",
        "--bench",
        "rows",
        "--",
    ]);
    run.extend(output(
        cargo.args(["crowds", "joins", "--series"]),
        "the server's bench",
    )?);
    Ok(())
}

fn cargo(directory: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(directory);
    cargo
}

fn build(directory: &Path, arguments: &[&str]) -> Result<()> {
    let mut cargo = cargo(directory);
    cargo.args(["build", "--quiet", "--release", "--locked"]);
    let status = cargo.args(arguments).status().context("cargo")?;
    ensure!(status.success(), "not built: {}", arguments.join(" "));
    Ok(())
}

/// The series that a program prints.
fn output(command: &mut Command, name: &str) -> Result<Run> {
    let output = command.output().with_context(|| name.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {said}");
    series::parse(&String::from_utf8(output.stdout)?, Unit::Nanoseconds)
}
