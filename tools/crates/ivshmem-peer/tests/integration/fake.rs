// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A server of which each message is known.

use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{eventfd, EventfdFlags};
use rustix::fs::{ftruncate, memfd_create, MemfdFlags};
use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

pub const OWN: i64 = 7;
pub const SIZE: u64 = 4096;

/// The server's end of a connection.
pub struct Fake(pub UnixStream);

impl Fake {
    /// It, and the client's end.
    pub fn pair() -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Self(ours), theirs)
    }

    /// Sends bytes with descriptors.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let parts = [IoSlice::new(bytes)];
        let sent = sendmsg(&self.0, &parts, &mut ancillary, SendFlags::NOSIGNAL);
        assert_eq!(sent, Ok(bytes.len()));
    }

    pub fn message(&self, number: i64, fd: Option<&OwnedFd>) {
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
        self.send(&number.to_le_bytes(), &fds);
    }

    /// The greeting up to the memory.
    pub fn greet(&self) {
        self.greet_with(SIZE);
    }

    pub fn greet_with(&self, size: u64) {
        self.greet_as(OWN, size);
    }

    /// The same, for the client `id`.
    pub fn greet_as(&self, id: i64, size: u64) {
        self.message(0, None);
        self.message(id, None);
        self.message(-1, Some(&memory(size)));
    }
}

fn memory(size: u64) -> OwnedFd {
    let memory = memfd_create("fake", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memory, size).unwrap();
    memory
}

/// An eventfd as old servers make them: it blocks.
pub fn doorbell() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC).unwrap()
}

/// Open descriptors of this process.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Something that can be sent, and not be written to.
pub fn other_file() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}
