// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What clients can do to QEMU's server, by their behaviour or their number.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use ivshmem_protocol::{ClientDecoder, Event, PeerId};
use ivshmem_server::{RegionConfig, Server};
use rustix::process::Signal;

use crate::client::{raise_descriptor_limit, ring, rung, Connection, News, Peer};
use crate::server::{Embedded, Running};

/// It ends when it cannot greet a client, or lacks descriptors for one, which
/// `refusal::out_of_descriptors` tries.
#[test]
fn w01_client_gone_before_accept_ends_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let server = Server::bind(RegionConfig::new(&path)).unwrap();
    for _ in 0..3 {
        drop(Connection::open(&path));
    }
    let stop = server.stop_trigger();
    let thread = std::thread::spawn(move || server.run(|_| ()));
    // No ID was spent on them.
    assert_eq!(Peer::join(&path, 8).id, 0);
    stop.fire();
    thread.join().unwrap().unwrap();
}

/// It waits by `select`, which has no room for descriptors from 1024 on.
#[test]
fn w02_more_than_1024_descriptors() {
    const VECTORS: usize = 64;
    raise_descriptor_limit();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let server = Running::start(&path, &["--vectors=64", "--max-peers=24"]);
    let mut peers: Vec<Peer> = Vec::new();
    while server.descriptors() <= 1024 + VECTORS {
        let mut peer = Peer::join(&path, VECTORS);
        peer.others.retain(|id, _| *id == 0);
        peers.push(peer);
    }
    let last = peers.last().unwrap();
    last.check_rings(&peers[0]);
    let news = Peer::join(&path, VECTORS);
    news.check_rings(last);
}

/// It drops what a socket has no room for, so that vectors get wrong numbers. A socket takes 278
/// messages by default. A client that does not read holds up nobody here, and finds all that is
/// still true when it reads at last.
#[test]
fn w03_full_buffer_loses_no_message() {
    const OTHERS: u16 = 240;
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

/// It takes an interrupted system call for a failure. Messages that the kernel takes in part are
/// tried in `ivshmem-protocol`, as no socket can be made to do so.
#[test]
fn w04_signals_lose_no_message() {
    const VECTORS: usize = 8;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    // It reports at each signal, which nobody wants to read.
    let server = Running::start_after("exec 2>/dev/null", &path, &[]);
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                server.signal(Signal::USR1);
            }
        });
        let mut witness = Peer::join(&path, VECTORS);
        for round in 1..=50 {
            let other = Peer::join(&path, VECTORS);
            assert_eq!(other.id, round);
            witness.wait_for(other.id);
            witness.check_rings(&other);
            drop(other);
            assert_eq!(witness.news(), News::Left(round));
        }
        enough.store(true, Ordering::Relaxed);
    });
}

/// It looks at all clients for each ID that it tries. Here a message costs the same, however many
/// clients there are.
#[test]
fn w13_cost_of_a_message_does_not_grow_with_the_clients() {
    const STEP: u32 = 40;
    const MANY: u32 = 240;
    raise_descriptor_limit();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let server = Running::start(&path, &["--vectors=1", "--max-peers=500"]);
    let mut peers: Vec<Peer> = Vec::new();
    let mut join_up_to = |count: u32| {
        let (first, before) = (peers.len() as u32, server.cpu_time());
        while peers.len() < count as usize {
            let mut peer = Peer::join(&path, 1);
            peer.others.clear();
            peers.push(peer);
        }
        // To the new one: the greeting, all others and itself; and one message to each other.
        let messages: u32 = (first..count).map(|others| 4 + 2 * others).sum();
        (server.cpu_time() - before) / messages
    };
    join_up_to(STEP);
    let few = join_up_to(2 * STEP);
    join_up_to(MANY - STEP);
    let many = join_up_to(MANY);
    // With a busy machine allowed for.
    assert!(many < 3 * few, "{few:?} each at first, {many:?} at last");
}

/// Its client cannot share a process with anything. Any process can be a client by
/// `ivshmem-protocol`.
#[test]
fn w15_host_process_is_a_peer() {
    let server = Embedded::start(2, 2);
    let mut guest = Peer::join(&server.path, 2);
    let socket = Connection::open(&server.path);
    let mut decoder = ClientDecoder::new();
    let mut memory: Option<OwnedFd> = None;
    let mut own = Vec::new();
    let mut others: BTreeMap<PeerId, Vec<OwnedFd>> = BTreeMap::new();
    while own.len() < 2 {
        let (bytes, fd) = socket.receive_bytes().unwrap();
        match decoder.push(&bytes, fd).unwrap().unwrap() {
            Event::Version => {}
            Event::OwnId(id) => assert_eq!(id, 1.into()),
            Event::SharedMemory(fd) => memory = Some(fd),
            Event::PeerVector { peer, fd, .. } => others.entry(peer).or_default().push(fd),
            Event::OwnVector { fd, .. } => own.push(fd),
            Event::PeerLeft(peer) => panic!("{peer} left"),
        }
    }
    guest.wait_for(1);
    assert_eq!(rustix::io::pwrite(memory.unwrap(), b"hello", 0), Ok(5));
    ring(&others[&0.into()][1], 1);
    assert_eq!(rung(&guest.own[1]), 1);
    let mut found = [0; 5];
    assert_eq!(rustix::io::pread(&guest.memory, &mut found, 0), Ok(5));
    assert_eq!(&found, b"hello");
    ring(&guest.others[&1][0], 1);
    assert_eq!(rung(&own[0]), 1);
}

/// It accepts any number of clients.
#[test]
fn w16_flood_of_connections_leaks_nothing() {
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
