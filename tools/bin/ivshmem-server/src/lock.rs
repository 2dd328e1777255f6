// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Lock file that keeps two servers off the same socket.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;
use tracing::warn;

use crate::identity::is_at;
use crate::BindError;

/// A lock file that this process holds locked. The kernel releases the lock when the process
/// ends, in whatever way; the file is removed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
    /// Whether the file is left to a successor, who holds the same lock.
    abandoned: bool,
}

impl Lock {
    /// Locks `PATH.lock` for a socket at `socket`. Does not wait.
    pub(crate) fn take(socket: &Path) -> Result<Self, BindError> {
        let path = path_of(socket);
        let error = |action| {
            let path = path.clone();
            move |source: io::Error| BindError::Path {
                action,
                path,
                source,
            }
        };
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                // Not where somebody else points to.
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)
                .map_err(error("open the lock file"))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(BindError::Locked(socket.to_owned())),
                Err(errno) => return Err(error("lock")(errno.into())),
            }
            // Whoever held the lock may have removed the file between the two calls. A lock on
            // a file without a name would keep nobody off.
            if is_at(&file, &path).map_err(error("check the lock file"))? {
                return Ok(Self {
                    file,
                    path,
                    abandoned: false,
                });
            }
        }
    }

    /// The lock that a server before this one took and passed on.
    pub(crate) fn adopt(socket: &Path, file: OwnedFd) -> Self {
        Self {
            file: file.into(),
            path: path_of(socket),
            abandoned: false,
        }
    }

    /// Leaves the file to a successor. The lock is held for as long as that has it open.
    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn path_of(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock is still held here, so this is nobody else's file.
        if !self.abandoned && is_at(&self.file, &self.path).unwrap_or(false) {
            if let Err(error) = fs::remove_file(&self.path) {
                warn!("cannot remove {}: {error}", self.path.display());
            }
        }
    }
}
