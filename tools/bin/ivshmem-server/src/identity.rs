// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Which file it is, whatever its name.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{fstat, lstat, Stat};

/// Device and inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

impl Identity {
    /// Of the file at `path`, which is the link if it is one.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Ok(lstat(path)?.into())
    }
}

impl From<Stat> for Identity {
    fn from(found: Stat) -> Self {
        Self(found.st_dev, found.st_ino)
    }
}

/// Whether the file at `path` is this one. Somebody may have removed it, and put another in its place.
pub(crate) fn is_at(file: impl AsFd, path: &Path) -> io::Result<bool> {
    let ours = Identity::from(fstat(file)?);
    match Identity::at(path) {
        Ok(named) => Ok(ours == named),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
