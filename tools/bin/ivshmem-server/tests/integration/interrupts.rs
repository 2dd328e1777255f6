// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Interrupts by real eventfds.

use crate::client::{is_quiet, ring, rung, Peer};
use crate::server::Embedded;

#[test]
fn each_vector_of_each_client_is_rung_by_the_others() {
    const VECTORS: usize = 3;
    let server = Embedded::start(VECTORS as u16, 3);
    let mut peers: Vec<_> = (0..3).map(|_| Peer::join(&server.path, VECTORS)).collect();
    for (index, peer) in peers.iter_mut().enumerate() {
        for _ in 0..(2 - index) * VECTORS {
            peer.news();
        }
    }
    for sender in &peers {
        for receiver in peers.iter().filter(|peer| peer.id != sender.id) {
            for vector in 0..VECTORS {
                ring(&sender.others[&receiver.id][vector], 1);
                assert_eq!(rung(&receiver.own[vector]), 1);
                assert!(peers.iter().flat_map(|peer| &peer.own).all(is_quiet));
            }
        }
    }
}

#[test]
fn interrupts_outlive_the_server() {
    let server = Embedded::start(1, 2);
    let mut first = Peer::join(&server.path, 1);
    let second = Peer::join(&server.path, 1);
    first.news();
    drop(server);
    ring(&first.others[&1][0], 1);
    assert_eq!(rung(&second.own[0]), 1);
    // Nobody is said to have left, as nobody did.
    assert!(first.connection.receive().is_none());
    assert!(second.connection.receive().is_none());
}
