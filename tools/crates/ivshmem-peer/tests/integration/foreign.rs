// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What other servers send, in the order of their sources: they are none of QEMU's, nor ours.

use std::os::fd::OwnedFd;

use ivshmem::{Doorbell, Waiter};
use ivshmem_peer::Peer;
use test_limit::limit;

use crate::fake::{doorbell, Fake, SIZE};
use crate::join::{options, settled};

/// The peer rings `other` by `vector`, whose eventfd is `theirs`.
fn assert_rings(peer: &Peer, other: u32, vector: u32, theirs: &OwnedFd) {
    assert!(peer.try_ring(other, vector).unwrap());
    let mut count = [0; 8];
    rustix::io::read(theirs, &mut count).unwrap();
    assert_eq!(u64::from_ne_bytes(count), 1);
}

/// The peer hears its vector `vector`, whose eventfd is `own`.
fn assert_hears(peer: &Peer, vector: u32, own: &OwnedFd) {
    rustix::io::write(own, &1u64.to_ne_bytes()).unwrap();
    assert_eq!(peer.wait(0, Some(limit())).unwrap(), 1 << vector);
}

/// TAS, `proxy/host/ivshmem.c`: the server is a peer too, 255 for each machine, and tells nobody of others.
#[test]
fn a_server_that_is_a_peer_itself() {
    let (fake, socket) = Fake::pair();
    let (host, own) = (doorbell(), doorbell());
    fake.greet_as(0, SIZE);
    fake.message(255, Some(&host));
    fake.message(0, Some(&own));
    let peer = options().join_over(socket).unwrap();
    assert_eq!(peer.peer_id(), 0);
    assert_eq!(peer.members().peers, [(255, 1)].into());
    assert_rings(&peer, 255, 0, &host);
    assert_hears(&peer, 0, &own);
}

/// SURE's manager: everybody in the order of the IDs, so that the own vector comes between those of others. Who joins gets
/// the lowest ID that is free, and there is one vector.
#[test]
fn a_server_that_tells_of_others_after_the_own_vector() {
    let (fake, socket) = Fake::pair();
    let [first, own, third, fourth] = std::array::from_fn(|_| doorbell());
    fake.greet_as(1, SIZE);
    for (id, fd) in [(0, &first), (1, &own), (2, &third)] {
        fake.message(id, Some(fd));
    }
    let peer = options().join_over(socket).unwrap();
    settled(&peer, 2);
    assert_eq!(peer.members().peers, [(0, 1), (2, 1)].into());
    // Another one takes the place of who left.
    fake.message(2, None);
    fake.message(2, Some(&fourth));
    settled(&peer, 4);
    assert_rings(&peer, 0, 0, &first);
    assert_rings(&peer, 2, 0, &fourth);
    assert_hears(&peer, 0, &own);
}

/// The server of IVSHMSG (FabricAttachedMemory): IDs begin with 1, each client has as many vectors as there are slots, one
/// for each sender, and the last slot is the server's.
#[test]
fn a_server_with_a_vector_for_each_sender() {
    const SLOTS: u32 = 16;
    const SERVER: u32 = SLOTS - 1;
    let (fake, socket) = Fake::pair();
    let vectors = || Vec::from_iter((0..SLOTS).map(|_| doorbell()));
    let (other, server, own) = (vectors(), vectors(), vectors());
    fake.greet_as(2, SIZE);
    for (id, fds) in [(1, &other), (SERVER, &server), (2, &own)] {
        for fd in fds {
            fake.message(id.into(), Some(fd));
        }
    }
    let peer = options().vectors(SLOTS).join_over(socket).unwrap();
    assert_eq!(peer.vectors(), SLOTS);
    assert_eq!(peer.members().peers, [(1, SLOTS), (SERVER, SLOTS)].into());
    assert_rings(&peer, 1, 2, &other[2]);
    assert_rings(&peer, SERVER, 2, &server[2]);
    assert_hears(&peer, SERVER, &own[SERVER as usize]);
}
