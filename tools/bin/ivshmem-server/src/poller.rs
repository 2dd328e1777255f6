// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Level-triggered epoll, in the terms of the server.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use ivshmem_protocol::ConnectionId;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::Timespec;
use rustix::io::Errno;

/// Events taken from the kernel at a time.
const BATCH: usize = 64;

/// Which descriptor an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Stop,
    Report,
    /// A listening socket for clients, by its index.
    Door(usize),
    /// As numbers are not used twice, no late event is taken for one of another client.
    Client(ConnectionId),
    StatusDoor,
    /// A connection to which a report is being sent, by its number.
    StatusReader(u64),
    HandOverDoor,
    Reload,
    ControlDoor,
    /// A connection by which a command comes, by its number.
    Operator(u64),
}

/// Bits below the kind of a token. Connections are not that many in the life of a machine.
const KIND_SHIFT: u32 = 56;

impl Token {
    fn to_data(self) -> EventData {
        let (kind, number) = match self {
            Self::Stop => (0, 0),
            Self::Report => (1, 0),
            Self::Door(index) => (2, index as u64),
            Self::Client(number) => (3, number.0),
            Self::StatusDoor => (4, 0),
            Self::StatusReader(number) => (5, number),
            Self::HandOverDoor => (6, 0),
            Self::Reload => (7, 0),
            Self::ControlDoor => (8, 0),
            Self::Operator(number) => (9, number),
        };
        EventData::new_u64((kind << KIND_SHIFT) | number)
    }

    fn from_data(data: EventData) -> Self {
        let number = data.u64() & ((1 << KIND_SHIFT) - 1);
        // Only data that to_data() made comes back.
        match data.u64() >> KIND_SHIFT {
            0 => Self::Stop,
            1 => Self::Report,
            2 => Self::Door(number as usize),
            3 => Self::Client(ConnectionId(number)),
            4 => Self::StatusDoor,
            5 => Self::StatusReader(number),
            6 => Self::HandOverDoor,
            7 => Self::Reload,
            8 => Self::ControlDoor,
            _ => Self::Operator(number),
        }
    }
}

/// What to wait for. The end of a connection is always waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interest {
    pub read: bool,
    pub write: bool,
}

impl Interest {
    pub(crate) const NONE: Self = Self {
        read: false,
        write: false,
    };
    pub(crate) const READ: Self = Self {
        read: true,
        write: false,
    };

    fn flags(self) -> EventFlags {
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN | EventFlags::RDHUP, self.read);
        flags.set(EventFlags::OUT, self.write);
        flags
    }
}

/// Something happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub token: Token,
    /// There is something to read, the end of the stream and errors included.
    pub readable: bool,
    /// The connection is over in both directions.
    pub hung_up: bool,
    pub writable: bool,
}

/// The epoll instance that the server sleeps in.
#[derive(Debug)]
pub(crate) struct Poller(OwnedFd);

impl Poller {
    pub(crate) fn new() -> Result<Self, Errno> {
        epoll::create(CreateFlags::CLOEXEC).map(Self)
    }

    /// Watches a descriptor until it is [removed](Self::remove), or no process has it open any more.
    pub(crate) fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> Result<(), Errno> {
        epoll::add(&self.0, fd, token.to_data(), interest.flags())
    }

    pub(crate) fn modify(
        &self,
        fd: impl AsFd,
        token: Token,
        interest: Interest,
    ) -> Result<(), Errno> {
        epoll::modify(&self.0, fd, token.to_data(), interest.flags())
    }

    /// Ends that. To be used before a socket is closed that the service manager or a successor can have, too. Does
    /// nothing if it is not watched.
    pub(crate) fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.0, fd);
    }

    /// Waits until something happens or the time is over, without limit if it is `None`.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Result<Vec<Ready>, Errno> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let mut events: Vec<Event> = Vec::with_capacity(BATCH);
        match epoll::wait(&self.0, spare_capacity(&mut events), limit.as_ref()) {
            // As if nothing had happened; the caller looks again at what there is to do.
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let ready = events.into_iter().map(|Event { flags, data }| {
            let over = EventFlags::HUP | EventFlags::ERR;
            Ready {
                token: Token::from_data(data),
                readable: flags.intersects(EventFlags::IN | EventFlags::RDHUP | over),
                hung_up: flags.intersects(over),
                writable: flags.contains(EventFlags::OUT),
            }
        });
        Ok(ready.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        for token in [
            Token::Stop,
            Token::Report,
            Token::Door(3),
            Token::Client(ConnectionId((1 << KIND_SHIFT) - 1)),
            Token::StatusDoor,
            Token::StatusReader(5),
            Token::HandOverDoor,
            Token::Reload,
            Token::ControlDoor,
            Token::Operator(7),
        ] {
            assert_eq!(Token::from_data(token.to_data()), token);
        }
    }
}
