// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What clients are sent when they and others come and go.

use std::os::fd::OwnedFd;

use crate::client::{Connection, News, Peer};
use crate::server::Embedded;

/// Checks the next messages byte for byte, and which of them come with a descriptor.
#[track_caller]
fn expect(connection: &Connection, messages: &[([u8; 8], bool)]) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    for (index, (bytes, with_fd)) in messages.iter().enumerate() {
        let (received, fd) = connection.receive_bytes().expect("end of stream");
        assert_eq!(received, *bytes, "message {index}");
        assert_eq!(fd.is_some(), *with_fd, "message {index}");
        fds.extend(fd);
    }
    fds
}

const ZERO: [u8; 8] = [0; 8];
const ONE: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];
const TWO: [u8; 8] = [2, 0, 0, 0, 0, 0, 0, 0];
const MARK: [u8; 8] = [0xff; 8];

#[test]
fn three_clients_byte_for_byte() {
    let server = Embedded::start(2, 8);
    let first = Connection::open(&server.path);
    let own = [(ZERO, true), (ZERO, true)];
    expect(&first, &[(ZERO, false), (ZERO, false), (MARK, true)]);
    expect(&first, &own);

    let second = Connection::open(&server.path);
    expect(&second, &[(ZERO, false), (ONE, false), (MARK, true)]);
    expect(&second, &[(ZERO, true), (ZERO, true)]);
    expect(&second, &[(ONE, true), (ONE, true)]);
    expect(&first, &[(ONE, true), (ONE, true)]);

    let third = Connection::open(&server.path);
    expect(&third, &[(ZERO, false), (TWO, false), (MARK, true)]);
    expect(&third, &[(ZERO, true), (ZERO, true)]);
    expect(&third, &[(ONE, true), (ONE, true)]);
    expect(&third, &[(TWO, true), (TWO, true)]);
    for other in [&first, &second] {
        expect(other, &[(TWO, true), (TWO, true)]);
    }

    drop(second);
    for other in [&first, &third] {
        expect(other, &[(ONE, false)]);
        assert!(other.is_silent());
    }
}

#[test]
fn fewest_and_most_vectors() {
    for vectors in [1, 256] {
        let server = Embedded::start(vectors, 2);
        let vectors = usize::from(vectors);
        let mut first = Peer::join(&server.path, vectors);
        let second = Peer::join(&server.path, vectors);
        assert_eq!(second.others[&0].len(), vectors);
        for _ in 0..vectors {
            assert_eq!(first.news(), News::Vector(1));
        }
        drop(second);
        assert_eq!(first.news(), News::Left(1));
    }
}

#[test]
fn ids_are_not_used_twice() {
    let server = Embedded::start(1, 2);
    let mut witness = Peer::join(&server.path, 1);
    for id in 1..20 {
        let other = Peer::join(&server.path, 1);
        assert_eq!(other.id, id);
        assert_eq!(witness.news(), News::Vector(id));
        drop(other);
        assert_eq!(witness.news(), News::Left(id));
    }
}
