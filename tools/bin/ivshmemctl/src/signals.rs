// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Signals that end the program, for commands that have to say so to others first.

use std::sync::atomic::AtomicBool;
use std::sync::Arc;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};

use crate::exit::Exit;

/// What the first signal sets. A second one ends the program at once.
pub fn ended() -> Result<Arc<AtomicBool>> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let code = Exit::Failure.code().into();
        register_conditional_shutdown(signal, code, ended.clone())
            .and_then(|_| register(signal, ended.clone()))
            .context("cannot handle signals")?;
    }
    Ok(ended)
}
