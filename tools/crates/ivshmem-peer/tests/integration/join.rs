// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a server may say, and what it may not.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ivshmem::{Doorbell, Error, Memory, Waiter};
use ivshmem_peer::{JoinError, Options, Peer, Server};
use ivshmem_protocol::DecodeError;
use rustix::time::{clock_gettime, ClockId};
use test_limit::limit;

use crate::fake::{descriptors, doorbell, other_file, Fake, OWN};

pub fn options() -> Options {
    Options::default().patience(limit())
}

/// A peer that joined a fake server with one vector, and that server.
fn joined() -> (Peer, Fake) {
    let (fake, socket) = Fake::pair();
    fake.greet();
    fake.message(OWN, Some(&doorbell()));
    (options().join_over(socket).unwrap(), fake)
}

/// Blocks until the peer has nothing more to read.
pub fn settled(peer: &Peer, version: u64) {
    let mut members = peer.members();
    while members.version < version {
        let before = members.version;
        members = peer.wait_members(before, Some(limit()));
        assert_ne!(members.version, before, "{:?}", peer.server());
    }
}

#[test]
fn messages_that_the_kernel_glues_are_told_apart() {
    let (fake, socket) = Fake::pair();
    let (first, second, own) = (doorbell(), doorbell(), doorbell());
    fake.greet();
    fake.message(1, Some(&first));
    fake.message(1, None); // left, and glued to what follows
    fake.message(2, Some(&second));
    fake.message(OWN, Some(&own));
    let peer = options().join_over(socket).unwrap();
    assert_eq!(peer.members().peers, [(2, 1)].into());
    assert!(peer.try_ring(2, 0).unwrap());
    let mut count = [0; 8];
    rustix::io::read(&second, &mut count).unwrap();
    assert_eq!(u64::from_ne_bytes(count), 1);
    rustix::io::write(&own, &1u64.to_ne_bytes()).unwrap();
    assert_eq!(peer.wait(0, Some(limit())).unwrap(), 1);
}

#[test]
fn messages_that_come_in_pieces_are_put_together() {
    let (fake, socket) = Fake::pair();
    fake.greet();
    fake.message(OWN, Some(&doorbell()));
    let peer = options().join_over(socket).unwrap();
    let theirs = doorbell();
    fake.send(&3i64.to_le_bytes()[..1], &[theirs.as_fd()]);
    fake.send(&3i64.to_le_bytes()[1..5], &[]);
    fake.send(&3i64.to_le_bytes()[5..], &[]);
    settled(&peer, 1);
    assert_eq!(peer.members().peers, [(3, 1)].into());
}

#[test]
fn our_doorbell_is_read_although_it_blocks_and_others_drain_it() {
    let (fake, socket) = Fake::pair();
    fake.greet();
    let own = doorbell();
    fake.message(OWN, Some(&own));
    let peer = options().join_over(socket).unwrap();
    let flags = rustix::fs::fcntl_getfl(&own).unwrap();
    // It is rung, and drained by somebody else, thousands of times; and blocks whenever it can.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..20_000 {
                let blocking = flags - rustix::fs::OFlags::NONBLOCK;
                rustix::fs::fcntl_setfl(&own, blocking).unwrap();
                rustix::io::write(&own, &1u64.to_ne_bytes()).unwrap();
                rustix::fs::fcntl_setfl(&own, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
                let _ = rustix::io::read(&own, &mut [0; 8]);
            }
        });
    });
    // Whether it still listens.
    fake.message(5, Some(&doorbell()));
    settled(&peer, 1);
}

#[test]
fn what_a_server_must_not_say_ends_the_connection_and_not_the_peer() {
    let (peer, fake) = joined();
    fake.message(9, None); // 9 was never there
    while peer.server() == Server::Connected {
        peer.ring(peer.peer_id(), 0).unwrap();
        peer.wait(0, Some(limit())).unwrap();
    }
    let expected = DecodeError::UnknownPeerLeft(9.into()).to_string();
    assert_eq!(peer.server(), Server::Lost(expected));
}

#[test]
fn two_descriptors_with_one_message_are_refused() {
    let (fake, socket) = Fake::pair();
    let (a, b) = (doorbell(), doorbell());
    fake.greet();
    fake.send(&OWN.to_le_bytes(), &[a.as_fd(), b.as_fd()]);
    let error = options().join_over(socket).unwrap_err();
    let expected = DecodeError::TwoDescriptors.to_string();
    assert!(
        matches!(&error, JoinError::Lost(why) if *why == expected),
        "{error:?}"
    );
}

/// The kernel drops descriptors for which there is no room, as where the limit of open files is reached.
#[test]
fn descriptors_that_were_lost_are_told_of() {
    let (fake, socket) = Fake::pair();
    let doorbells = [(); 8].map(|()| doorbell());
    fake.greet();
    fake.send(&OWN.to_le_bytes(), &doorbells.each_ref().map(AsFd::as_fd));
    let error = options().join_over(socket).unwrap_err();
    assert!(error.to_string().contains("limit of open files"), "{error}");
}

#[test]
fn a_connection_that_closes_before_our_vectors_is_told() {
    let (fake, socket) = Fake::pair();
    fake.greet();
    drop(fake);
    let error = options().join_over(socket).unwrap_err();
    assert!(
        matches!(&error, JoinError::Lost(why) if why.contains("closed")),
        "{error:?}"
    );
}

#[test]
fn a_doorbell_that_is_none_is_an_error_of_its_rings_only() {
    let (peer, fake) = joined();
    fake.message(1, Some(&other_file()));
    settled(&peer, 1);
    let error = peer.ring(1, 0).unwrap_err();
    assert!(matches!(error, ivshmem::Error::Io { .. }), "{error:?}");
    peer.ring(peer.peer_id(), 0).unwrap();
    assert_eq!(peer.wait(0, Some(limit())).unwrap(), 1);
}

/// One that cannot be read is always ready.
#[test]
fn a_vector_that_is_no_doorbell_keeps_nobody_busy() {
    let (peer, fake) = joined();
    fake.message(OWN, Some(&other_file()));
    while peer.vectors() < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let used = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let before = used();
    assert_eq!(peer.wait(0, Some(Duration::from_secs(1))).unwrap(), 0);
    let busy = used() - before;
    assert!(busy < Duration::from_millis(300), "{busy:?} of a second");
    peer.ring(peer.peer_id(), 0).unwrap();
    assert_eq!(peer.wait(0, Some(limit())).unwrap(), 1);
}

#[test]
fn nobody_listens() {
    let error = Peer::join("/nonexistent/socket").unwrap_err();
    assert!(matches!(error, JoinError::Connect { .. }), "{error:?}");
}

#[test]
fn a_server_that_is_silent_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let _listener = UnixListener::bind(&path).unwrap();
    let patience = Duration::from_millis(50);
    let error = Options::default().patience(patience).join(&path);
    assert!(matches!(error, Err(JoinError::NoAnswer(_))), "{error:?}");
}

/// Connecting waits for a server that does not accept.
#[test]
fn a_server_whose_queue_is_full_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    let (sender, result) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for patience in [Duration::ZERO, Duration::from_millis(50)] {
            let joined = Options::default().patience(patience).join(&path);
            sender.send(joined.unwrap_err()).unwrap();
        }
    });
    for _ in 0..2 {
        let error = result.recv_timeout(limit()).expect("it waits for ever");
        assert!(matches!(error, JoinError::NoAnswer(_)), "{error:?}");
    }
}

#[test]
fn a_refusal_is_told() {
    let (fake, socket) = Fake::pair();
    fake.message(-1, None);
    let error = options().join_over(socket).unwrap_err();
    assert!(matches!(error, JoinError::Protocol(DecodeError::Refused)));
}

#[test]
fn a_connection_that_closes_in_the_greeting_is_told() {
    for messages in 0..3 {
        let (fake, socket) = Fake::pair();
        for number in [0, OWN].into_iter().take(messages) {
            fake.message(number, None);
        }
        drop(fake);
        let error = options().join_over(socket).unwrap_err();
        let closed = JoinError::Protocol(DecodeError::ClosedInHandshake);
        assert_eq!(error.to_string(), closed.to_string());
        assert!(matches!(
            error,
            JoinError::Protocol(DecodeError::ClosedInHandshake)
        ));
    }
}

#[test]
fn memory_that_cannot_be_mapped_is_told() {
    for size in [0, 100, 4097] {
        let (fake, socket) = Fake::pair();
        fake.greet_with(size);
        let error = options().join_over(socket).unwrap_err();
        assert!(matches!(error, JoinError::MemorySize(s) if s == size));
    }
}

/// Nobody can ring, so nothing but the word itself can tell.
#[test]
fn without_vectors_a_word_that_changes_ends_the_wait() {
    let (fake, socket) = Fake::pair();
    fake.greet();
    let peer = options().vectors(0).join_over(socket).unwrap();
    assert_eq!(peer.vectors(), 0);
    assert!(matches!(peer.bell(0), Err(Error::NoDoorbell)));
    let wait = peer.wait(0, Some(limit()));
    assert!(matches!(wait, Err(Error::NoDoorbell)));
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // So that the other one is asleep by then.
            std::thread::sleep(Duration::from_millis(50));
            peer.store32(8, 1, Ordering::Release).unwrap();
        });
        assert!(peer.wait_word(8, 0, Some(limit())).unwrap());
    });
    assert!(begin.elapsed() < limit(), "found when the time was over");
}

#[test]
fn leaving_closes_everything() {
    // Other tests of this process may open descriptors; nextest runs each in its own.
    let before = descriptors();
    for _ in 0..50 {
        let (peer, fake) = joined();
        fake.message(1, Some(&doorbell()));
        settled(&peer, 1);
    }
    let after = descriptors();
    assert!(after < before + 50, "{before} descriptors, then {after}");
}
