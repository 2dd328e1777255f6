// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! One connection.

use std::os::fd::OwnedFd;

use ivshmem_protocol::ServerMessage;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{recv, send, RecvFlags, SendFlags};

use crate::poller::Interest;
use crate::sys::Credentials;

/// The socket of a connection, and what is known of the other end.
#[derive(Debug)]
pub(crate) struct Client {
    pub socket: OwnedFd,
    /// What the poller was told to wait for.
    pub interest: Interest,
    /// Name of the door that it came in by.
    pub door: String,
    pub credentials: Credentials,
    /// Whether it gets the memory without the right to write.
    pub read_only: bool,
    /// Whether its socket has been lent more room than its share, and for what.
    pub loan: Loan,
}

/// Room in a socket beyond the share of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loan {
    None,
    /// While it is being greeted.
    Greeting,
    /// It has been told all, and may not have read it.
    Told,
}

/// How far sending got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has been told all.
    Done,
    /// The client must read first. The poller tells when it did.
    Blocked,
    /// The system lacks something; no event will tell when that is over.
    Starved(Errno),
    /// The connection is broken.
    Broken(Errno),
}

/// What a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Nothing,
    /// Bytes, which a client must not send.
    Bytes,
    /// The end of the stream or of the connection.
    End,
}

impl Client {
    /// Takes what the client sent, for the only thing that matters is whether it did.
    pub(crate) fn receive(&self) -> Received {
        loop {
            match recv(&self.socket, &mut [0; 64], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Received::End,
                Ok(_) => return Received::Bytes,
                Err(Errno::AGAIN) => return Received::Nothing,
                Err(Errno::INTR) => {}
                Err(_) => return Received::End,
            }
        }
    }
}

/// Tells a client that has not been sent anything that it is not served. The caller closes the
/// connection then; what was sent can still be read.
pub(crate) fn refuse(socket: &OwnedFd) {
    let bytes = ServerMessage::Refusal.to_bytes();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    // The buffer of a new connection is empty, so this fails only if the client is gone.
    while let Err(Errno::INTR) = send(socket, &bytes, flags) {}
}

/// Whether the client has closed its end already.
pub(crate) fn has_hung_up(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}
