// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What signals do.
#![allow(unsafe_code)] // Whether one is ignored has no safe interface.

use std::os::fd::AsFd;
use std::{mem, ptr};

use anyhow::Context;
use ivshmem_server::{Trigger, Triggers};
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

/// Signals of a terminal. Whoever starts the server by `nohup`, or a script in the background, has them ignored so
/// that it goes on.
const OF_TERMINAL: [i32; 3] = [SIGHUP, SIGINT, SIGQUIT];

/// Has signals end the server, make a report, and read the configuration again if that is a file.
pub fn handle(triggers: &Triggers, config: bool) -> anyhow::Result<()> {
    let stop = &triggers.stop;
    // None of the signals by which others end may leave the files behind.
    for signal in [SIGTERM, SIGINT, SIGQUIT, SIGALRM, SIGUSR2] {
        end_by(signal, stop)?;
    }
    match config {
        false => end_by(SIGHUP, stop)?,
        true => on(SIGHUP, &triggers.reload)?,
    }
    on(SIGUSR1, &triggers.report)
}

fn end_by(signal: i32, stop: &Trigger) -> anyhow::Result<()> {
    if OF_TERMINAL.contains(&signal) && is_ignored(signal) {
        return Ok(());
    }
    on(signal, stop)
}

fn on(signal: i32, trigger: &Trigger) -> anyhow::Result<()> {
    let fd = trigger.as_fd().try_clone_to_owned()?;
    signal_hook::low_level::pipe::register(signal, fd)
        .with_context(|| format!("cannot handle signal {signal}"))?;
    Ok(())
}

/// Whether a signal does nothing, as whoever started this process wanted.
fn is_ignored(signal: i32) -> bool {
    // SAFETY: All zeros is a valid `sigaction`: numbers, and a handler that is none.
    let mut found: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: The pointer is to a live variable. Without a new action, the call changes nothing.
    let result = unsafe { libc::sigaction(signal, ptr::null(), &raw mut found) };
    result == 0 && found.sa_sigaction == libc::SIG_IGN
}
