// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! How a running server gives everything to a successor that asks for it.
//!
//! The successor connects to a socket of its predecessor, which is for processes of the same
//! user only. It is sent packets of one name and the descriptors of this name each, and one
//! empty name at the end. When it has everything in place, it answers with one byte, and the
//! predecessor ends. Nothing is lost if either of them fails: as long as there is no answer, the
//! predecessor goes on, and says so, also if the answer comes too late; and if it is killed, the
//! successor has everything.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use crate::succession::inheritance::Inheritance;
use crate::succession::journal::Journal;
use crate::succession::names::{Named, JOURNAL};
use crate::sys;

/// How long either side waits for the other, the one that gives in all. Clients wait with it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Descriptors that one packet can carry. The kernel would take 253.
const AT_ONCE: usize = 250;

/// Length of a packet in bytes: a name, filled up with zeros. No name is that long.
const PACKET: usize = 256;

/// A server that takes over from another one.
#[derive(Debug)]
pub struct TakeOver(OwnedFd);

impl TakeOver {
    /// Asks the server whose hand-over socket is at `path` for all that it has.
    ///
    /// # Errors
    ///
    /// There is no such server, or it does not answer within 10 seconds.
    pub fn ask(path: &Path) -> io::Result<(Self, Inheritance)> {
        let flags = SocketFlags::CLOEXEC;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let address = SocketAddrUnix::new(path)?;
        let end = || Instant::now() + PATIENCE;
        patiently(&socket, end(), || net::connect(&socket, &address))?;
        let mut inheritance = Inheritance::shared();
        loop {
            let (name, fds) = receive(&socket, end())?;
            if name.is_empty() {
                return Ok((Self(socket), inheritance));
            }
            for fd in fds {
                inheritance.push(name.clone(), fd);
            }
            answer(&socket)?;
        }
    }

    /// Tells the other server that it may end, and waits until it has.
    ///
    /// # Errors
    ///
    /// It goes on, as it has waited for too long.
    pub(crate) fn wait(&self) -> io::Result<()> {
        // Not heard if it has closed the connection, of which the reason is read next.
        let _ = answer(&self.0);
        loop {
            match net::recv(&self.0, &mut [0; 1], RecvFlags::empty()) {
                // However long it takes to end.
                Err(Errno::INTR | Errno::AGAIN) => {}
                Ok((_, 0)) | Err(Errno::CONNRESET) => return Ok(()),
                Ok(_) => return Err(io::Error::other("it goes on, as it had no answer in time")),
                Err(errno) => return Err(io::Error::other(errno.to_string())),
            }
        }
    }
}

/// Gives everything, which is what `all` returns, to one who has connected to the hand-over socket.
/// Once it has everything, this server must end.
pub(crate) fn give<'fd>(
    socket: &OwnedFd,
    all: impl FnOnce() -> io::Result<(Journal, Vec<Named<'fd>>)>,
) -> io::Result<()> {
    let who = sys::credentials(socket.as_fd())?;
    if who.uid != rustix::process::geteuid().as_raw() && who.uid != 0 {
        return Err(io::Error::other(format!("user {} may not", who.uid)));
    }
    rustix::io::ioctl_fionbio(socket, false)?;
    let given = all().and_then(|(journal, rest)| give_all(socket, &journal, &rest));
    given.inspect_err(|_| {
        // It may answer yet. If it cannot hear this, it is gone.
        let _ = answer(socket);
    })
}

fn give_all(socket: &OwnedFd, journal: &Journal, rest: &[Named<'_>]) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    let send = |name: &str, fds: &[BorrowedFd<'_>]| send(socket, end, name, fds);
    send(JOURNAL, &[journal.as_fd()])?;
    for (name, fds) in rest {
        for fds in fds.chunks(AT_ONCE) {
            send(name, fds)?;
        }
    }
    send("", &[])
}

/// Makes a system call on the socket that waits until `end` at most, whatever signals there are meanwhile.
fn patiently<T>(
    socket: &OwnedFd,
    end: Instant,
    mut call: impl FnMut() -> Result<T, Errno>,
) -> io::Result<T> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        // None at all would mean for ever.
        let left = Some(left).filter(|left| *left > Duration::from_millis(1));
        let left = left.ok_or(Errno::TIMEDOUT)?;
        set_socket_timeout(socket, Timeout::Recv, Some(left))?;
        set_socket_timeout(socket, Timeout::Send, Some(left))?;
        match call() {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Sends a packet and waits for the answer, so that no more than one packet of descriptors is
/// under way, which the kernel limits.
fn send(socket: &OwnedFd, end: Instant, name: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut packet = [0; PACKET];
    packet[..name.len()].copy_from_slice(name.as_bytes());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(fds));
        debug_assert!(fits);
    }
    let parts = [IoSlice::new(&packet)];
    let flags = SendFlags::NOSIGNAL;
    let sent = patiently(socket, end, || {
        net::sendmsg(socket, &parts, &mut ancillary, flags)
    })?;
    let answered = patiently(socket, end, || {
        net::recv(socket, &mut [0; 1], RecvFlags::empty()).map(|(_, count)| count)
    })?;
    if sent != PACKET || answered != 1 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn receive(socket: &OwnedFd, end: Instant) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut packet = [0; PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut packet)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
    let received = patiently(socket, end, || {
        net::recvmsg(socket, &mut parts, &mut ancillary, flags)
    })?;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        let text = "no room for descriptors; raise the limit of open files (ulimit -Hn)";
        return Err(io::Error::other(text));
    }
    if received.bytes != PACKET {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let name: Vec<u8> = packet.into_iter().take_while(|byte| *byte != 0).collect();
    let name = String::from_utf8(name).map_err(io::Error::other)?;
    Ok((name, fds))
}

fn answer(socket: &OwnedFd) -> io::Result<()> {
    net::send(socket, &[0], SendFlags::NOSIGNAL)?;
    Ok(())
}
