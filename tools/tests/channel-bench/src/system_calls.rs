// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What sleeping and waking take of the kernel.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::rounds;
use crate::series;

const ROUNDS: u32 = 200;
/// In between the answerer falls asleep.
const PAUSE: Duration = Duration::from_millis(2);
/// The server's default.
const VECTORS: u16 = 8;

/// System calls of an answerer for a round: it sleeps, is woken, and rings the other.
pub fn run() -> Result<()> {
    let some = traced(ROUNDS)?;
    let more = traced(3 * ROUNDS)?;
    // The difference, without those of starting and ending.
    let each = (more - some) / f64::from(2 * ROUNDS);
    series::count("system_calls", each);
    Ok(())
}

/// How many there were with so many rounds.
fn traced(rounds: u32) -> Result<f64> {
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("calls");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&log);
    rounds::with_answerer(strace, VECTORS, 0, |_, ends| {
        for _ in 0..rounds {
            thread::sleep(PAUSE);
            rounds::ask(ends)?;
        }
        Ok(())
    })
    .context("under strace, which Debian's package of that name has")?;
    let text = fs::read_to_string(&log)?;
    let calls = text.lines().filter(|line| !line.contains(" resumed>"));
    let calls = calls.count();
    ensure!(calls > 0, "strace saw nothing");
    Ok(calls as f64)
}
