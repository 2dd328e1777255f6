// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Why a process could not join.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ivshmem_protocol::DecodeError;

/// Why a process could not join, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Nobody listens there, or we may not connect.
    #[error("cannot connect to {path}: does ivshmem-server run with this --socket-path, and may this user connect?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The server accepted the connection and does not say what it must.
    #[error("the server has not completed its greeting within {0:?}: is it stopped, has it fewer vectors than are waited for, or is it something else than an ivshmem server?")]
    NoAnswer(Duration),
    /// The connection ended after the memory and before our vectors, for this reason.
    #[error("the connection was lost before all vectors had come: {0}")]
    Lost(String),
    /// The server said what it must not, or closed the connection.
    #[error("the server does not keep to the protocol")]
    Protocol(#[from] DecodeError),
    /// The memory is empty or is not made of whole pages.
    #[error(
        "the server gave {0} bytes of memory: it must be a multiple of the page size, and not 0"
    )]
    MemorySize(u64),
    /// The memory cannot be mapped.
    #[error("cannot map the memory")]
    Map(#[from] ivshmem::Error),
    /// A system call failed.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
}

impl JoinError {
    pub(crate) fn io<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            what,
            source: source.into(),
        }
    }
}
