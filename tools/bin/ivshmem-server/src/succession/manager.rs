// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The service manager: notices to it, and descriptors that it keeps for a successor.
//!
//! What is spoken is the protocol of `sd_notify(3)`: lines of text in one datagram, and
//! descriptors that go along.

use std::env;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

/// Descriptors that one datagram can carry. The kernel would take 253.
const DESCRIPTORS_AT_ONCE: usize = 250;

/// A service manager that listens to notices.
#[derive(Debug)]
pub struct ServiceManager {
    socket: OwnedFd,
    room: Option<u64>,
}

impl ServiceManager {
    /// The service manager that started this process, if `NOTIFY_SOCKET` names one.
    ///
    /// # Errors
    ///
    /// There is one, but it cannot be reached.
    pub fn from_environment() -> io::Result<Option<Self>> {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else {
            return Ok(None);
        };
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            path => SocketAddrUnix::new(path),
        }?;
        let flags = SocketFlags::CLOEXEC;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        net::connect(&socket, &address)?;
        let room = env::var("FDSTORE").ok();
        Ok(Some(Self {
            socket,
            room: room.and_then(|text| text.parse().ok()),
        }))
    }

    /// Number of descriptors that it can keep. What is more is dropped without a word. From version 254
    /// on, systemd says it by itself.
    pub fn room(&self) -> Option<u64> {
        self.room
    }

    /// Sends a notice, such as `READY=1`. Waits while the manager is busy.
    ///
    /// # Errors
    ///
    /// The manager does not listen any more.
    pub fn notify(&self, text: &str) -> io::Result<()> {
        Ok(self.send(text, &[])?)
    }

    /// Has descriptors kept under a name for whoever comes after this process.
    pub(crate) fn keep(&self, name: &str, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        // Without FDPOLL=0, systemd would drop a client's socket as soon as the client is gone,
        // which is for us to find out.
        let text = format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0\n");
        fds.chunks(DESCRIPTORS_AT_ONCE)
            .try_for_each(|fds| self.send(&text, fds))
    }

    /// Has all descriptors of this name closed.
    pub(crate) fn drop_kept(&self, name: &str) -> Result<(), Errno> {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), &[])
    }

    fn send(&self, text: &str, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            let fits = ancillary.push(SendAncillaryMessage::ScmRights(fds));
            debug_assert!(fits);
        }
        let parts = [IoSlice::new(text.as_bytes())];
        loop {
            match net::sendmsg(&self.socket, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                result => return result.map(drop),
            }
        }
    }
}
