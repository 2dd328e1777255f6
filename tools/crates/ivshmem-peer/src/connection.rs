// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Connects to a server, and reads its messages off the socket.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use ivshmem_protocol::{ClientDecoder, DecodeError, Event, MESSAGE_LEN};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{
    self, recvmsg, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags,
    ReturnFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// Room for more descriptors than a server may send at a time, so that too many are seen as such: the
/// kernel drops what does not fit.
const DESCRIPTORS: usize = 4;

/// Longest time that is asked of the kernel.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Connects to the server that listens at `path`. Blocks while its queue is full, and fails with `EAGAIN` when no time
/// is `left`.
pub(crate) fn connect(path: &Path, left: impl Fn() -> Duration) -> Result<UnixStream, Errno> {
    let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(path)?;
    loop {
        // None at all would be for ever.
        let limit = left().clamp(Duration::from_millis(1), LONGEST);
        set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
        match net::connect(&socket, &address) {
            Ok(()) => return Ok(socket.into()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The server's end of the conversation.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: UnixStream,
    decoder: ClientDecoder<OwnedFd>,
}

/// Why nothing more will be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server closed the connection where it may.
    #[error("the server closed the connection")]
    Closed,
    #[error(transparent)]
    Protocol(#[from] DecodeError),
    #[error("cannot read from the server")]
    Io(#[from] io::Error),
}

impl Connection {
    pub fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            decoder: ClientDecoder::new(),
        }
    }

    /// Takes the next event, `None` if its message is not all there yet. Does not block.
    ///
    /// Only what the current message lacks is read: the kernel glues a message without a descriptor to the
    /// next one that has one, and a larger read would take that descriptor for the first message's.
    pub fn receive(&mut self) -> Result<Option<Event<OwnedFd>>, Failure> {
        loop {
            let mut bytes = [0; MESSAGE_LEN];
            let Some((len, fds)) = self.read(self.decoder.wanted(), &mut bytes)? else {
                return Ok(None);
            };
            if len == 0 {
                self.decoder.end_of_stream()?;
                return Err(Failure::Closed);
            }
            if let Some(event) = self.decoder.push(&bytes[..len], fds)? {
                return Ok(Some(event));
            }
        }
    }

    /// Reads at most `wanted` bytes and the descriptors that come with them; `None` if there is nothing now.
    fn read(
        &self,
        wanted: usize,
        bytes: &mut [u8; MESSAGE_LEN],
    ) -> Result<Option<(usize, Vec<OwnedFd>)>, Failure> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes[..wanted])];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let result = loop {
            match recvmsg(&self.socket, &mut parts, &mut ancillary, flags) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                other => break other.map_err(io::Error::from)?,
            }
        };
        if result.flags.contains(ReturnFlags::CTRUNC) {
            let text = "descriptors of the server were lost: is the limit of open files too low?";
            return Err(io::Error::other(text).into());
        }
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        Ok(Some((result.bytes, fds)))
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
