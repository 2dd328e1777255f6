// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Memory in a file, without a server.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use crate::{
    forward_memory, poll_word, Access, Doorbell, Error, Locking, Mapping, Result, Waiter,
    POLL_INTERVAL,
};

/// A file that is shared memory: what QEMU gives to guests as `ivshmem-plain`, or what processes of one system share.
///
/// Nobody can ring anybody: [`Waiter::wait_word`] looks at the word once in a millisecond, unless
/// [`with_interval`](Self::with_interval) says otherwise, and all else that needs a doorbell gives [`Error::NoDoorbell`].
///
/// Whoever makes the file smaller ends all who use it, by SIGBUS.
#[derive(Debug)]
pub struct SharedFile {
    mapping: Mapping,
    file: File,
    interval: Duration,
}

impl SharedFile {
    /// Opens a file for reading and writing, and maps all of it.
    ///
    /// # Errors
    ///
    /// [`Error::Open`], [`Error::Io`]; [`Error::Argument`] if it is empty.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = OpenOptions::new().read(true).write(true).open(path);
        Self::of(file.map_err(|source| Error::Open {
            path: path.into(),
            source,
        })?)
    }

    /// Maps all of a file that is open for reading and writing, such as a memfd.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn of(file: File) -> Result<Self> {
        let about = file.metadata();
        let about =
            about.map_err(|error| Error::io(error, "cannot ask for the size of the file"))?;
        let len = usize::try_from(about.len()).unwrap_or(usize::MAX);
        if len == 0 {
            return Err(Error::Argument(
                "the file is empty: make it as large as the memory".into(),
            ));
        }
        let mapping = Mapping::of(&file, 0, len, Access::ReadWrite)?;
        Ok(Self {
            mapping,
            file,
            interval: POLL_INTERVAL,
        })
    }

    /// Looks at what is waited for in each `interval`, instead of in each millisecond. Zero is no pause, and keeps a
    /// processor busy.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// The memory.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }
}

forward_memory!({} SharedFile, SharedFile::mapping);

impl Doorbell for SharedFile {
    /// 0: nobody is rung by it.
    fn peer_id(&self) -> u32 {
        0
    }

    fn vectors(&self) -> u32 {
        0
    }

    fn ring(&self, _peer: u32, _vector: u32) -> Result<()> {
        Err(Error::NoDoorbell)
    }

    fn lock(&self, number: u64) -> Locking {
        Locking::of(&self.file, number)
    }
}

impl Waiter for SharedFile {
    fn wait(&self, _vectors: u64, _timeout: Option<Duration>) -> Result<u64> {
        Err(Error::NoDoorbell)
    }

    fn wait_word(&self, offset: u64, value: u32, timeout: Option<Duration>) -> Result<bool> {
        poll_word(&self.mapping, offset, value, timeout, self.interval, || {
            Ok(())
        })
    }

    fn interval(&self) -> Duration {
        self.interval
    }
}
