// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Clients of a server that has been there for long.

use std::num::NonZeroU16;

use ivshmem_protocol::ConnectionId;

use crate::{RegionConfig, Server};

#[path = "../../tests/integration/client.rs"]
#[allow(dead_code)]
mod client;

use client::{Connection, Peer};

const PLACES: u16 = 4;

/// The first of the IDs that clients get again and again.
const FIRST_LASTING: u16 = u16::MAX - PLACES + 1;

/// Clients that come and go can use up the IDs in seconds. Those who stay hear of none again that left,
/// which [`Peer`] checks, but can always hear of more clients.
#[test]
fn ids_are_never_used_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut config = RegionConfig::new(&path);
    config.vectors = 1;
    config.max_peers = PLACES.into();
    config.join_rate = 0;
    let mut server = Server::bind(config).unwrap();
    for number in 0..u64::from(FIRST_LASTING) - 2 {
        let membership = &mut server.regions[0].membership;
        let number = ConnectionId(number);
        membership.join(number, None, NonZeroU16::MIN).unwrap();
        membership.remove(number);
        server.next_connection = number.0 + 1;
    }
    let stop = server.stop_trigger();
    let thread = std::thread::spawn(move || server.run(|_| ()));

    let mut witness = Peer::join(&path, 1);
    assert_eq!(witness.id, FIRST_LASTING - 2);
    let last = Peer::join(&path, 1);
    assert_eq!(last.id, FIRST_LASTING - 1);
    witness.wait_for(last.id);
    drop(last);
    assert_eq!(witness.news(), client::News::Left(FIRST_LASTING - 1));
    // From here on, nobody is told who leaves.
    for _ in 0..20 {
        let guest = Peer::join(&path, 1);
        assert!(guest.id >= FIRST_LASTING);
        witness.wait_for(guest.id);
        witness.check_rings(&guest);
        guest.check_rings(&witness);
    }
    let others = loop {
        // The server may not have noticed yet that the guests have gone.
        let connections: Vec<_> = (1..PLACES).map(|_| Connection::open(&path)).collect();
        let served = |c: &Connection| matches!(c.receive(), Some((0, None)));
        if connections.iter().all(served) {
            break connections.into_iter().map(|c| Peer::welcomed(c, 1));
        }
    };
    for other in others.collect::<Vec<_>>() {
        witness.wait_for(other.id);
        witness.check_rings(&other);
    }
    assert!(witness.others.len() <= usize::from(PLACES));
    stop.fire();
    thread.join().unwrap().unwrap();
}
