// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Clients that behave badly, and many of them.

use std::collections::BTreeSet;

use crate::client::{raise_descriptor_limit, ring, rung, Connection, News, Peer};
use crate::server::{Embedded, Running};

#[test]
fn storm_of_connections_leaks_nothing() {
    const CLIENTS: usize = 1000;
    const VECTORS: usize = 2;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let vectors = VECTORS.to_string();
    let mut server = Running::start(&path, &["--vectors", &vectors]);
    let mut witness = Peer::join(&path, VECTORS);
    let before = server.descriptors();
    for _ in 0..CLIENTS {
        drop(Connection::open(&path));
    }
    // The last one is accepted after all of the storm. The witness hears of all who lasted
    // long enough to be let in, and of their end after their descriptors were closed.
    let last = Peer::join(&path, VECTORS);
    let mut there: BTreeSet<u16> = BTreeSet::new();
    while there != BTreeSet::from([last.id]) || witness.others[&last.id].len() < VECTORS {
        match witness.news() {
            News::Vector(peer) => there.insert(peer),
            News::Left(peer) => there.remove(&peer),
        };
    }
    assert!(server.is_running());
    assert_eq!(server.descriptors(), before + 1 + VECTORS);
    drop(last);
    while !matches!(witness.news(), News::Left(_)) {}
    assert_eq!(server.descriptors(), before);
}

/// A client that does not read gets more messages than its socket holds, 278 by default. It
/// holds up nobody, and finds all that is still true when it reads at last.
#[test]
fn client_that_does_not_read_for_long() {
    const OTHERS: u16 = 400;
    const VECTORS: u16 = 2;
    raise_descriptor_limit();
    let server = Embedded::start(VECTORS, u32::from(OTHERS) + 1);
    let sleeper = Connection::open(&server.path);
    let mut others = Vec::new();
    for id in 1..=OTHERS {
        let mut other = Peer::join(&server.path, VECTORS.into());
        assert_eq!(other.id, id);
        // Its view of the rest does not matter here, and takes many descriptors.
        other.others.clear();
        others.push(Some(other));
    }
    // Some leave of whom the sleeper was told, and some of whom it was not.
    let gone = |id: u16| id % 4 == 0;
    for other in &mut others {
        other.take_if(|other| gone(other.id));
    }
    let last = Peer::join(&server.path, VECTORS.into());
    assert!(last.others.len() <= usize::from(OTHERS));

    let mut sleeper = Peer::greeted(sleeper, VECTORS.into());
    let mut order = Vec::new();
    let mut told_of_end = BTreeSet::new();
    while sleeper.others.get(&last.id).map_or(0, Vec::len) < VECTORS.into() {
        match sleeper.news() {
            News::Vector(peer) => order.push(peer),
            News::Left(peer) => {
                assert!(gone(peer) && told_of_end.insert(peer));
            }
        }
    }
    assert!(order.is_sorted(), "{order:?}");
    assert!(!told_of_end.is_empty() && told_of_end.len() < usize::from(OTHERS / 4));
    for other in others.iter().flatten().chain([&last]) {
        let fds = &sleeper.others[&other.id];
        assert_eq!(fds.len(), usize::from(VECTORS));
        for (vector, fd) in fds.iter().enumerate() {
            ring(fd, u64::from(other.id) + 1);
            assert_eq!(rung(&other.own[vector]), u64::from(other.id) + 1);
        }
    }
    assert_eq!(sleeper.others.len(), others.iter().flatten().count() + 1);
}
