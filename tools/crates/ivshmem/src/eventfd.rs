// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Eventfds that processes which need not be friendly share with us.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::{write, Errno};

/// Adds 1 to an eventfd, so that whoever waits for it is woken; for implementations of [`Doorbell`](crate::Doorbell) elsewhere.
/// A counter that is full says that it was rung and nobody has looked, which is as good. Where others
/// have cleared `O_NONBLOCK` it blocks only if they also fill the counter between the look at it and the write, until there is
/// room.
///
/// # Errors
///
/// Of `poll` and `write`.
pub fn ring_eventfd(eventfd: impl AsFd) -> io::Result<()> {
    // Not left to O_NONBLOCK alone, which others can clear.
    let mut fds = [PollFd::new(&eventfd, PollFlags::OUT)];
    // A signal ends this look only where there is no room.
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(0) | Err(Errno::INTR) => return Ok(()),
        other => other?,
    };
    if !fds[0].revents().contains(PollFlags::OUT) {
        return Ok(());
    }
    match write(&eventfd, &1u64.to_ne_bytes()) {
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
