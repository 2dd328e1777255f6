// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Signals that end the program, for commands that have to say so to others first.

use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};
use signal_hook::low_level::pipe;

use crate::exit::Exit;

const ENDING: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// What can be read from when a signal has come: for those who wait for descriptors.
pub fn readable() -> Result<UnixStream> {
    let (read, write) = UnixStream::pair().context("cannot handle signals")?;
    for signal in ENDING {
        let write = write.try_clone().context("cannot handle signals")?;
        pipe::register(signal, write).context("cannot handle signals")?;
    }
    Ok(read)
}

/// What the first signal sets. A second one ends the program at once.
pub fn ended() -> Result<Arc<AtomicBool>> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in ENDING {
        let code = Exit::Failure.code().into();
        register_conditional_shutdown(signal, code, ended.clone())
            .and_then(|_| register(signal, ended.clone()))
            .context("cannot handle signals")?;
    }
    Ok(ended)
}
