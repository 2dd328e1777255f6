// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! How many messages can be in the sockets of clients that have not read them.
//!
//! Their descriptors count against a limit of the server's user, so that those who do not read could stop all sending.
//! Each client can have its share. One that is being greeted is lent more, as with a small share it would be woken up for
//! every few of what can be thousands of messages. It has that until it has been told all and has read it. What is lent is
//! limited, too: who connects and never reads can keep a loan from others, and no more than that.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt;

use crate::bounds::IN_FLIGHT;
use crate::sys;

/// What the kernel counts in bytes for a message that is in a socket.
const MESSAGE_COST: usize = 768;

/// The shares of clients, and what can be lent besides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    share: usize,
    /// Clients that can be lent the most.
    loans: usize,
}

impl InFlight {
    /// Half of the limit of open files for all shares, and a quarter for loans.
    pub(crate) fn new(limit: u64, places: u64) -> Self {
        let (least, most) = (*IN_FLIGHT.start(), *IN_FLIGHT.end());
        let fair = usize::try_from(limit / 2 / places.max(1)).unwrap_or(usize::MAX);
        let loans = usize::try_from(limit / 4).unwrap_or(usize::MAX) / most;
        Self {
            share: fair.clamp(least, most),
            loans: if fair < most { loans } else { 0 },
        }
    }

    /// Messages that can be in the socket of each client.
    pub(crate) fn share(&self) -> usize {
        self.share
    }

    /// Most messages that can be in all sockets together, for so many clients.
    pub(crate) fn most(&self, places: u64) -> u64 {
        self.share as u64 * places + (self.loans * (IN_FLIGHT.end() - self.share)) as u64
    }

    /// Lets the socket of a newcomer have as much as there is. Returns whether that is a loan.
    pub(crate) fn greet(&mut self, socket: &OwnedFd) -> Result<bool, Errno> {
        let lent = self.loans > 0;
        limit(socket, if lent { *IN_FLIGHT.end() } else { self.share })?;
        self.loans -= usize::from(lent);
        Ok(lent)
    }

    /// Gives a socket its share, whatever it was lent by a server before this one, or while there were other shares.
    pub(crate) fn take_over(&self, socket: &OwnedFd) -> Result<(), Errno> {
        limit(socket, self.share)
    }

    /// Takes a loan back from one that has been told all, if it has read it. Returns whether it had.
    pub(crate) fn take_back(&mut self, socket: &OwnedFd) -> bool {
        let read = sys::unread(socket.as_fd()) == Ok(0) && limit(socket, self.share).is_ok();
        self.loans += usize::from(read);
        read
    }

    /// Takes a loan back from one that is gone.
    pub(crate) fn regain(&mut self) {
        self.loans += 1;
    }
}

/// Limits how many messages can be in a socket. What is more waits in the server, where it costs nothing.
fn limit(socket: &OwnedFd, messages: usize) -> Result<(), Errno> {
    // The kernel takes twice as much, for its own data, and no less than it finds sensible.
    sockopt::set_socket_send_buffer_size(socket, messages * MESSAGE_COST / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_loans_leave_some_of_the_limit() {
        for limit in [1024, 4096, 20_000, 1 << 20] {
            for places in [1, 64, 1000, 65_536] {
                let in_flight = InFlight::new(limit, places);
                let least = places * *IN_FLIGHT.start() as u64;
                let most = in_flight.most(places);
                assert!(
                    most <= least.max(limit / 2) + limit / 4,
                    "{limit} {places}: {most}"
                );
            }
        }
        assert_eq!(InFlight::new(20_000, 1000).share(), 10);
        assert_eq!(InFlight::new(1 << 20, 64).loans, 0);
    }

    #[test]
    fn loans_end_and_come_back() {
        let (socket, mut reader) = std::os::unix::net::UnixStream::pair().unwrap();
        let socket = OwnedFd::from(socket);
        let size = || sockopt::socket_send_buffer_size(&socket).unwrap();
        let mut in_flight = InFlight::new(1024, 1000);
        let loans = in_flight.loans;
        assert_eq!(loans, 4);
        for _ in 0..loans {
            assert_eq!(in_flight.greet(&socket), Ok(true));
        }
        let lent = size();
        assert_eq!(in_flight.greet(&socket), Ok(false));
        assert!(size() < lent);
        // Not before it has been read.
        rustix::io::write(&socket, b"x").unwrap();
        assert!(!in_flight.take_back(&socket));
        std::io::Read::read_exact(&mut reader, &mut [0]).unwrap();
        assert!(in_flight.take_back(&socket));
        in_flight.regain();
        assert_eq!(in_flight.loans, 2);
        assert_eq!(in_flight.greet(&socket), Ok(true));
        assert_eq!(size(), lent);
    }
}
