// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What can go wrong with a QEMU under test.

use std::io;

/// What went wrong with a QEMU under test.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no QEMU to start.
    #[error(transparent)]
    Setup(#[from] vmbench::Error),
    /// QEMU cannot be started.
    #[error("cannot start {command}: {source}; set VMBENCH_QEMU to a command that starts QEMU 11.1 or later")]
    Start {
        /// The first word of the command.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// QEMU ended, or its socket failed.
    #[error("QEMU does not answer to `{command}`: {source}\n{complaints}")]
    Gone {
        /// What it was asked.
        command: String,
        /// Why there is no answer.
        source: io::Error,
        /// What it wrote to standard error.
        complaints: String,
    },
    /// QEMU answered something else than expected.
    #[error("QEMU answers to `{command}` with `{answer}`")]
    Answer {
        /// What it was asked.
        command: String,
        /// What it said.
        answer: String,
    },
}

/// The result of talking to QEMU.
pub type Result<T> = std::result::Result<T, Error>;
