// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Tells a successor whether the last message went out.
//!
//! A server can be killed between sending a message and writing down that it did. Its successor
//! must neither repeat the message, as that would shift the numbers of the vectors, nor leave it
//! out. So a message is only sent to a client that has read all before it, and whether it did
//! read is seen in two things that survive the server:
//!
//! * the socket itself, which knows whether something is unread, and
//! * an epoll instance, the witness, where the socket is watched for becoming writable, edge
//!   triggered: the kernel notes an edge each time that the other end reads something.
//!
//! The witness is emptied before each message. A message was sent if and only if it is unread
//! then, or the client has read since. The successor can only look if the witness stays open,
//! which it does as the service manager keeps it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::Timespec;
use rustix::io::Errno;

use crate::roster::ConnectionId;
use crate::sys::{self, Unread};

const BATCH: usize = 64;

/// An epoll instance that notes which clients have read something.
#[derive(Debug)]
pub(crate) struct Witness(OwnedFd);

impl Witness {
    pub(crate) fn new() -> Result<Self, Errno> {
        epoll::create(CreateFlags::CLOEXEC).map(Self)
    }

    /// The witness that a server before this one used.
    pub(crate) fn adopt(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Watches a client until its socket is closed everywhere.
    pub(crate) fn watch(&self, client: BorrowedFd<'_>, number: ConnectionId) -> Result<(), Errno> {
        let flags = EventFlags::OUT | EventFlags::ET;
        epoll::add(&self.0, client, EventData::new_u64(number.0), flags)
    }

    /// Takes all that was noted: the clients that have read something.
    pub(crate) fn take(&self) -> Result<Vec<ConnectionId>, Errno> {
        let mut found = Vec::new();
        loop {
            let mut events: Vec<Event> = Vec::with_capacity(BATCH);
            let now = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            match epoll::wait(&self.0, spare_capacity(&mut events), Some(&now)) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            }
            let full = events.len() == BATCH;
            found.extend(events.iter().map(|event| ConnectionId(event.data.u64())));
            if !full {
                return Ok(found);
            }
        }
    }

    /// Whether the message that was about to be sent to this client was sent. Nothing must have
    /// been taken from the witness since.
    pub(crate) fn was_sent(
        &self,
        client: BorrowedFd<'_>,
        number: ConnectionId,
    ) -> io::Result<bool> {
        // First the socket: the kernel notes that something was read before it forgets that it
        // was unread.
        Ok(sys::unread(client)? != Unread::Nothing || self.take()?.contains(&number))
    }
}

impl AsFd for Witness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    const NUMBER: ConnectionId = ConnectionId(7);

    /// A witness that is emptied, as before a message.
    fn watched() -> (Witness, UnixStream, UnixStream) {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let witness = Witness::new().unwrap();
        witness.watch(ours.as_fd(), NUMBER).unwrap();
        ours.write_all(b"before").unwrap();
        theirs.read_exact(&mut [0; 6]).unwrap();
        assert_eq!(witness.take().unwrap(), [NUMBER]);
        (witness, ours, theirs)
    }

    #[test]
    fn nothing_was_sent() {
        let (witness, ours, mut theirs) = watched();
        // What the client sends is not taken for reading.
        theirs.write_all(b"noise").unwrap();
        assert!(!witness.was_sent(ours.as_fd(), NUMBER).unwrap());
    }

    #[test]
    fn sent_and_unread() {
        let (witness, mut ours, _theirs) = watched();
        ours.write_all(b"message").unwrap();
        assert!(witness.was_sent(ours.as_fd(), NUMBER).unwrap());
    }

    #[test]
    fn sent_and_read() {
        let (witness, mut ours, mut theirs) = watched();
        ours.write_all(b"message").unwrap();
        theirs.read_exact(&mut [0; 7]).unwrap();
        assert!(witness.was_sent(ours.as_fd(), NUMBER).unwrap());
    }

    #[test]
    fn survives_as_another_descriptor() {
        let (witness, mut ours, mut theirs) = watched();
        ours.write_all(b"message").unwrap();
        let kept = [ours.as_fd(), witness.as_fd()].map(|fd| fd.try_clone_to_owned().unwrap());
        drop((ours, witness));
        theirs.read_exact(&mut [0; 7]).unwrap();
        let [ours, witness] = kept;
        let witness = Witness::adopt(witness);
        assert!(witness.was_sent(ours.as_fd(), NUMBER).unwrap());
    }
}
