// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! How a running server is told something from outside its thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::error::system;
use crate::BindError;

/// Tells a server to do one thing, from any thread. Clones tell the same server the same.
///
/// The descriptor behind it is a socket, and whatever is written to it has the effect, which
/// makes it fit for a signal handler.
#[derive(Clone, Debug)]
pub struct Trigger(Arc<OwnedFd>);

impl Trigger {
    /// Tells the server. Does not wait for it, and does nothing if it has ended.
    pub fn fire(&self) {
        // A full buffer means that it has been told often enough, any other error that it is
        // gone.
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        while let Err(Errno::INTR) = net::send(&*self.0, &[1], flags) {}
    }

    /// A trigger, and the descriptor that becomes readable when it is used.
    fn pair() -> Result<(Self, OwnedFd), Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        Ok((Self(Arc::new(ours)), theirs))
    }
}

/// The triggers of a server. They are made before it, so that it can be told something while it starts.
#[derive(Debug)]
pub struct Triggers {
    /// Ends the server, also one that is starting.
    pub stop: Trigger,
    /// Has it make a report.
    pub report: Trigger,
    /// Has it read the configuration again.
    pub reload: Trigger,
    /// Readable when the server is to end. Nothing is read from it.
    pub(crate) stopped: OwnedFd,
    /// Readable when a report is wanted.
    pub(crate) asked: OwnedFd,
    /// Readable when the configuration is to be read again.
    pub(crate) changed: OwnedFd,
}

impl Triggers {
    /// Makes them.
    ///
    /// # Errors
    ///
    /// There are no file descriptors left.
    pub fn new() -> Result<Self, BindError> {
        let pair = || Trigger::pair().map_err(system("create a socket pair"));
        let ((stop, stopped), (report, asked), (reload, changed)) = (pair()?, pair()?, pair()?);
        Ok(Self {
            stop,
            report,
            reload,
            stopped,
            asked,
            changed,
        })
    }

    /// An error if the server is to end.
    pub(crate) fn check(&self) -> Result<(), BindError> {
        let mut fds = [PollFd::new(&self.stopped, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(1..) => Err(BindError::Stopped),
            _ => Ok(()),
        }
    }
}

/// Forgets how often a trigger was used. Whether there ever was a use is known from waiting.
pub(crate) fn clear(theirs: &OwnedFd) {
    let mut bytes = [0; 64];
    while let Ok((_, 1..)) | Err(Errno::INTR) = net::recv(theirs, &mut bytes, RecvFlags::DONTWAIT) {
    }
}

impl AsFd for Trigger {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
