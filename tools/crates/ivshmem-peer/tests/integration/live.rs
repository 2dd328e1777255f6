// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Peers on the real server.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ivshmem::{Doorbell, Error, Memory, Waiter};
use ivshmem_peer::{Options, Peer, Server};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::process::{kill_process, Pid, Signal};
use test_limit::limit;
use vmbench::Region;

const SIZE: u64 = 1 << 20;
const VECTORS: u16 = 4;

fn region() -> Region {
    Region::start(SIZE, VECTORS).unwrap()
}

fn join(region: &Region) -> Peer {
    let all = Options::default().vectors(VECTORS.into()).patience(limit());
    all.join(region.socket()).unwrap()
}

/// Waits until `peer` knows all vectors of the peer `other`, or that it is gone.
fn wait_until(peer: &Peer, other: u32, there: bool) {
    let mut members = peer.members();
    let expected = there.then_some(u32::from(VECTORS));
    while members.peers.get(&other).copied() != expected {
        let before = members.version;
        members = peer.wait_members(before, Some(limit()));
        assert_ne!(members.version, before, "nobody came or went: {members:?}");
    }
}

/// Two that know each other.
fn pair(region: &Region) -> (Peer, Peer) {
    let (a, b) = (join(region), join(region));
    wait_until(&a, b.peer_id(), true);
    wait_until(&b, a.peer_id(), true);
    (a, b)
}

#[test]
fn all_vectors_both_ways_with_data() {
    let region = region();
    let (a, b) = pair(&region);
    assert_eq!((a.size(), a.vectors()), (SIZE, VECTORS.into()));
    assert!(a.is_sealed());
    for (from, to) in [(&a, &b), (&b, &a)] {
        for vector in 0..u32::from(VECTORS) {
            from.store32(8, vector + 1, Ordering::Relaxed).unwrap();
            assert!(from.try_ring(to.peer_id(), vector).unwrap());
            assert_eq!(to.wait(0, Some(limit())).unwrap(), 1 << vector);
            assert_eq!(to.load32(8, Ordering::Relaxed), Ok(vector + 1));
            assert_eq!(to.rings(vector), Some(1));
            assert_eq!(to.wait(0, Some(Duration::ZERO)).unwrap(), 0);
        }
    }
    assert_eq!(a.rings(VECTORS.into()), None);
}

#[test]
fn a_peer_rings_itself() {
    let region = region();
    let peer = join(&region);
    peer.ring(peer.peer_id(), 2).unwrap();
    assert_eq!(peer.wait(1 << 2, Some(limit())).unwrap(), 1 << 2);
}

#[test]
fn waiting_for_a_vector_that_is_not_there_is_an_error() {
    let region = region();
    let peer = join(&region);
    for (vectors, timeout) in [
        (1 << VECTORS, Some(limit())),
        (1 << 63, None),
        (1 | 1 << VECTORS, Some(Duration::ZERO)),
    ] {
        let error = peer.wait(vectors, timeout).unwrap_err().to_string();
        assert!(error.contains("take one below 4"), "{error}");
    }
}

#[test]
fn a_wait_takes_only_its_vectors() {
    let region = region();
    let peer = join(&region);
    peer.ring(peer.peer_id(), 1).unwrap();
    peer.ring(peer.peer_id(), 3).unwrap();
    assert_eq!(peer.wait(1 << 3, Some(limit())).unwrap(), 1 << 3);
    assert_eq!(peer.wait(1 << 3, Some(Duration::ZERO)).unwrap(), 0);
    assert_eq!(peer.wait(0, Some(limit())).unwrap(), 1 << 1);
}

#[test]
fn a_word_that_changes_wakes() {
    let region = region();
    let (a, b) = pair(&region);
    assert!(!a.wait_word(64, 0, Some(Duration::from_millis(20))).unwrap());
    std::thread::scope(|scope| {
        // Several threads of one peer wait at the same time, and each is woken.
        for word in [64, 68, 72] {
            let a = &a;
            scope.spawn(move || assert!(a.wait_word(word, 0, Some(limit())).unwrap()));
        }
        for word in [72, 64, 68] {
            b.store32(word, 1, Ordering::Release).unwrap();
            b.ring(a.peer_id(), 0).unwrap();
        }
    });
    assert!(a.wait_word(3, 0, Some(limit())).is_err());
    assert!(a.wait_word(SIZE, 0, Some(limit())).is_err());
}

/// Each of many threads is woken, although one of them alone hears the ring.
#[test]
fn threads_that_wait_for_different_things_are_all_woken() {
    const ROUNDS: u32 = 300;
    let region = region();
    let (a, b) = pair(&region);
    let answered = std::sync::Barrier::new(5);
    std::thread::scope(|scope| {
        let (a, answered) = (&a, &answered);
        for word in [64, 68] {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    assert!(a.wait_word(word, round, Some(limit())).unwrap());
                    answered.wait();
                }
            });
        }
        for vector in [1, 3] {
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let rung = a.wait(1 << vector, Some(limit())).unwrap();
                    assert_eq!(rung, 1 << vector);
                    answered.wait();
                }
            });
        }
        for round in 0..ROUNDS {
            for word in [64, 68] {
                b.store32(word, round + 1, Ordering::Release).unwrap();
            }
            for vector in [3, 0, 1] {
                b.ring(a.peer_id(), vector).unwrap();
            }
            answered.wait();
        }
    });
}

/// Who takes a doorbell's counter wakes the thread that sleeps in it.
#[test]
fn counting_rings_and_bells_take_none_from_those_who_wait() {
    const ROUNDS: u64 = 300;
    let region = region();
    let (a, b) = pair(&region);
    let bell = a.bell(1).unwrap();
    let waited = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                assert_eq!(a.wait(1 << 1, Some(limit())).unwrap(), 1 << 1);
                waited.store(round, Ordering::Release);
            }
        });
        for round in 1..=ROUNDS {
            b.ring(a.peer_id(), 1).unwrap();
            while waited.load(Ordering::Acquire) < round {
                assert!(a.rings(1).unwrap() <= round);
            }
            assert_eq!(a.rings(1), Some(round));
            assert!(bell.take().unwrap(), "the bell has not heard ring {round}");
        }
    });
}

/// No thread has to run in between, which would be one more to wake.
#[test]
fn a_bell_is_ready_once_its_doorbell_was_rung() {
    let region = region();
    let (a, b) = pair(&region);
    let bell = a.bell(1).unwrap();
    for _ in 0..100 {
        b.ring(a.peer_id(), 1).unwrap();
        let mut fds = [PollFd::new(&bell, PollFlags::IN)];
        assert_eq!(
            poll(&mut fds, Some(&Duration::ZERO.try_into().unwrap())),
            Ok(1)
        );
        assert!(bell.take().unwrap());
    }
    assert_eq!(a.rings(1), Some(100));
}

#[test]
fn bells_hear_what_waits_hear() {
    let region = region();
    let (a, b) = pair(&region);
    let bells = [1, 1, 2].map(|vector| a.bell(vector).unwrap());
    for _ in 0..3 {
        b.ring(a.peer_id(), 1).unwrap();
        assert_eq!(a.wait(0, Some(limit())).unwrap(), 1 << 1);
        for bell in &bells[..2] {
            let mut fds = [PollFd::new(bell, PollFlags::IN)];
            assert_eq!(poll(&mut fds, Some(&limit().try_into().unwrap())), Ok(1));
            assert!(bell.take().unwrap());
            assert!(!bell.take().unwrap());
        }
        assert!(!bells[2].take().unwrap());
    }
    assert!(matches!(a.bell(VECTORS.into()), Err(Error::Argument(_))));
}

#[test]
fn ten_thousand_round_trips() {
    let region = region();
    let (a, b) = pair(&region);
    let turn = |me: &Peer, other: u32, parity: u32| {
        for round in (parity..20_000).step_by(2) {
            while me.load32(0, Ordering::Acquire) != Ok(round) {
                let now = me.load32(0, Ordering::Acquire).unwrap();
                if now != round {
                    assert!(me.wait_word(0, now, Some(limit())).unwrap());
                }
            }
            me.store32(0, round + 1, Ordering::Release).unwrap();
            me.ring(other, 0).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| turn(&a, b.peer_id(), 0));
        turn(&b, a.peer_id(), 1);
    });
    assert_eq!(a.load32(0, Ordering::Acquire), Ok(20_000));
}

#[test]
fn others_come_and_go() {
    let region = region();
    let first = join(&region);
    assert!(first.members().peers.is_empty());
    let second = join(&region);
    let id = second.peer_id();
    wait_until(&first, id, true);
    assert!(first.try_ring(id, 0).unwrap());
    drop(second);
    wait_until(&first, id, false);
    assert!(!first.try_ring(id, 0).unwrap());
    // As in a guest, nobody hears it and that is no error.
    first.ring(id, 0).unwrap();
}

#[test]
fn a_peer_or_vector_out_of_range_is_an_error() {
    let region = region();
    let peer = join(&region);
    for (id, vector) in [(1 << 16, 0), (0, 256)] {
        let result = peer.ring(id, vector);
        assert!(matches!(result, Err(ivshmem::Error::Argument(_))));
    }
}

#[test]
fn doorbells_outlive_the_server() {
    let region = region();
    let (a, b) = pair(&region);
    let pid = i32::try_from(region.server_pid()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    // Nobody is told but by the socket; the next ring comes through all the same.
    while a.server() == Server::Connected {
        a.ring(a.peer_id(), 0).unwrap();
        a.wait(1, Some(limit())).unwrap();
    }
    a.write(0, b"still here").unwrap();
    a.ring(b.peer_id(), 1).unwrap();
    assert_eq!(b.wait(1 << 1, Some(limit())).unwrap(), 1 << 1);
    let mut read = [0; 10];
    b.read(0, &mut read).unwrap();
    assert_eq!(&read, b"still here");
}

#[test]
fn twenty_peers_hear_each_other() {
    let region = Region::start(SIZE, 1).unwrap();
    let peers: Vec<_> = (0..20)
        .map(|_| Peer::join(region.socket()).unwrap())
        .collect();
    let last = peers.last().unwrap();
    for peer in &peers {
        let mut members = peer.members();
        while members.peers.len() < peers.len() - 1 {
            members = peer.wait_members(members.version, Some(limit()));
        }
        assert!(peer.try_ring(last.peer_id(), 0).unwrap());
    }
    while last.rings(0).unwrap() < peers.len() as u64 {
        assert_eq!(last.wait(0, Some(limit())).unwrap(), 1);
    }
}
