// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Signals, as messages.

use std::sync::mpsc::{self, Receiver};
use std::thread;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To know what was carried.
    Status,
    /// The end.
    End,
}

/// Handles signals from now on. The second one that is to end the program ends it at once.
pub fn wishes() -> Result<Receiver<Wish>> {
    let signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1]);
    let mut signals = signals.context("cannot handle signals")?;
    let (sender, wishes) = mpsc::channel();
    let handle = move || {
        let mut ending = false;
        for signal in signals.forever() {
            let wish = match signal {
                SIGUSR1 => Wish::Status,
                _ if ending => std::process::exit(1),
                _ => Wish::End,
            };
            ending |= wish == Wish::End;
            // Who hears no more is ending.
            let _ = sender.send(wish);
        }
    };
    let thread = thread::Builder::new().name("signals".into());
    thread.spawn(handle).context("cannot start a thread")?;
    Ok(wishes)
}
