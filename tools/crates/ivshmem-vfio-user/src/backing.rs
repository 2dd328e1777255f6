// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Shared memory that QEMU can map.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ivshmem_model::Memory;
use rustix::fs::{fcntl_add_seals, memfd_create, MemfdFlags, SealFlags};
use tracing::error;

/// A file that is the shared memory of a region. Clones are the same memory.
#[derive(Clone, Debug)]
pub struct Backing {
    file: Arc<File>,
    len: u64,
}

impl Backing {
    /// New, zeroed memory of `len` bytes that lives as long as somebody uses it. The name is for
    /// `/proc` only.
    ///
    /// Nobody who has it can resize it: it would kill those who touch what is gone.
    pub fn anonymous(name: &str, len: u64) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create(name, flags)?);
        file.set_len(len)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Self::file(file)
    }

    /// All of a file that is open for reading and writing.
    pub fn file(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let file = Arc::new(file);
        Ok(Self { file, len })
    }

    /// The descriptor for QEMU to map. It is valid while this exists.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Memory for Backing {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) {
        if let Err(reason) = self.file.read_exact_at(bytes, offset) {
            error!("cannot read the shared memory: {reason}");
            bytes.fill(0xff);
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        if let Err(reason) = self.file.write_all_at(bytes, offset) {
            error!("cannot write the shared memory: {reason}");
        }
    }
}
