// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Names of descriptors that go from one server to the next.
//!
//! Names of regions and peers have no dots, so the parts of a name can be told apart.

use std::os::fd::BorrowedFd;

use ivshmem_protocol::{ConnectionId, PeerId};

/// Descriptors with their name.
pub(crate) type Named<'fd> = (String, Vec<BorrowedFd<'fd>>);

/// The journal.
pub(crate) const JOURNAL: &str = "journal";

const CONNECTION: &str = "connection";

/// The listening socket of the status report.
pub(crate) const STATUS_DOOR: &str = "status";

/// The listening socket for an operator.
pub(crate) const CONTROL_DOOR: &str = "control";

/// The listening socket for a successor.
pub(crate) const HAND_OVER_DOOR: &str = "hand-over";

/// First parts of the names of what servers make.
const KINDS: [&str; 5] = [CONNECTION, "listener", "lock", "memory", "doorbells"];

/// The socket of a region, or of a peer with a fixed ID.
pub(crate) fn door(region: &str, peer: Option<&str>) -> String {
    match peer {
        None => region.to_owned(),
        Some(peer) => format!("{region}.{peer}"),
    }
}

pub(crate) fn listener(door: &str) -> String {
    format!("listener.{door}")
}

pub(crate) fn lock(door: &str) -> String {
    format!("lock.{door}")
}

pub(crate) fn memory(region: &str) -> String {
    format!("memory.{region}")
}

pub(crate) fn doorbells(region: &str, id: PeerId) -> String {
    format!("doorbells.{region}.{id}")
}

pub(crate) fn connection(number: ConnectionId, door: &str) -> String {
    format!("{CONNECTION}.{}.{door}", number.0)
}

/// Number and door of a connection of this name.
pub(crate) fn parse_connection(name: &str) -> Option<(ConnectionId, &str)> {
    let rest = name.strip_prefix(CONNECTION)?.strip_prefix('.')?;
    let (number, door) = rest.split_once('.')?;
    Some((ConnectionId(number.parse().ok()?), door))
}

/// Whether this is the name of something that a server made, and not of a socket that the
/// service manager opened for it.
pub(crate) fn is_ours(name: &str) -> bool {
    let kind = name.split_once('.').map(|(kind, _)| kind);
    name == JOURNAL || kind.is_some_and(|kind| KINDS.contains(&kind))
}

/// Whether a region of this name would be taken for something else.
pub(crate) fn is_reserved(region: &str) -> bool {
    KINDS.contains(&region)
        || [JOURNAL, STATUS_DOOR, CONTROL_DOOR, HAND_OVER_DOOR].contains(&region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_read_back() {
        let number = ConnectionId(42);
        let name = connection(number, &door("frames", Some("vm1")));
        assert_eq!(parse_connection(&name), Some((number, "frames.vm1")));
        for name in ["", "frames", "journal", "connection", "connection.x.frames"] {
            assert_eq!(parse_connection(name), None, "{name}");
        }
    }

    #[test]
    fn ours_are_known() {
        for name in [JOURNAL.to_owned(), memory("a"), lock("a"), listener("a.b")] {
            assert!(is_ours(&name), "{name}");
        }
        for name in ["frames", "frames.vm1", "unknown", "memory"] {
            assert!(!is_ours(name), "{name}");
        }
    }
}
