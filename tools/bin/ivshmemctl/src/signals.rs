// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Signals that end the program, for commands that have to say so to others first.

use std::fs;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};
use signal_hook::low_level::pipe;

use crate::exit::Exit;

/// What can be read from when a signal has come: for those who wait for descriptors.
pub fn readable() -> Result<UnixStream> {
    let (read, write) = UnixStream::pair().context("cannot handle signals")?;
    for signal in ending() {
        let write = write.try_clone().context("cannot handle signals")?;
        pipe::register(signal, write).context("cannot handle signals")?;
    }
    Ok(read)
}

/// What the first signal sets. A second one ends the program at once.
pub fn ended() -> Result<Arc<AtomicBool>> {
    flag(ending())
}

/// The same for what draws on a terminal. SIGHUP says that this is gone, and ends the program by itself: there is nothing to
/// restore, and reading from what is gone would not end.
pub fn ended_while_drawing() -> Result<Arc<AtomicBool>> {
    flag([SIGINT, SIGTERM])
}

fn flag(signals: impl IntoIterator<Item = i32>) -> Result<Arc<AtomicBool>> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in signals {
        let code = Exit::Failure.code().into();
        register_conditional_shutdown(signal, code, ended.clone())
            .and_then(|_| register(signal, ended.clone()))
            .context("cannot handle signals")?;
    }
    Ok(ended)
}

fn ending() -> impl Iterator<Item = i32> {
    let hangup = heeds_hangup().then_some(SIGHUP);
    [SIGINT, SIGTERM].into_iter().chain(hangup)
}

/// Whether SIGHUP is to end the program: whoever starts it by nohup has it ignored, so that it goes on.
pub fn heeds_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored(&status).unwrap_or(0);
    ignored & 1 << (SIGHUP - 1) == 0
}

/// The signals that do nothing, as `/proc/PID/status` has them: a bit for each, the lowest for signal 1.
fn ignored(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let digits = lines.find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(digits.trim(), 16).ok()
}
