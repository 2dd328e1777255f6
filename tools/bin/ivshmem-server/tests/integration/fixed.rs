// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Clients that have the same ID each time they connect.
//!
//! Every client here checks that it is told nothing of an ID that it saw leave, which QEMU does
//! not survive.

use std::path::{Path, PathBuf};

use ivshmem_server::{PeerConfig, RegionConfig};
use rustix::fs::{ftruncate, OFlags};
use rustix::io::Errno;

use crate::client::{is_quiet, ring, Connection, News, Peer};
use crate::server::Embedded;

const VECTORS: usize = 2;

fn region(config: &mut RegionConfig, id: u16) {
    config.vectors = VECTORS as u16;
    config.max_peers = 4;
    let socket = config.socket_path.as_ref().unwrap().with_file_name("vm");
    config.peers.push(PeerConfig::new("vm", id, socket));
}

fn vm(server: &Embedded) -> PathBuf {
    server.path.with_file_name("vm")
}

/// Checks that clients are sent nothing that would have been sent before one more joined. That
/// one leaves again.
fn heard_nothing(witnesses: &mut [&mut Peer], path: &Path) {
    let marker = Peer::join(path, VECTORS);
    let id = marker.id;
    drop(marker);
    for witness in witnesses {
        for _ in 0..VECTORS {
            assert_eq!(witness.news(), News::Vector(id));
        }
        assert_eq!(witness.news(), News::Left(id));
    }
}

#[test]
fn comes_back_and_is_rung_as_before() {
    let server = Embedded::configured(|config| region(config, 0));
    let mut witness = Peer::join(&server.path, VECTORS);
    assert_eq!(witness.id, 1);
    for round in 0..10 {
        let fixed = Peer::join(&vm(&server), VECTORS);
        assert_eq!(fixed.id, 0);
        if round == 0 {
            witness.wait_for(0);
        }
        witness.check_rings(&fixed);
        fixed.check_rings(&witness);
        // A ring that comes too late does not reach the next one.
        ring(&witness.others[&0][1], 3);
        drop(fixed);
        heard_nothing(&mut [&mut witness], &server.path);
    }
    let fixed = Peer::join(&vm(&server), VECTORS);
    assert!(fixed.own.iter().all(is_quiet));
}

#[test]
fn is_announced_to_those_who_came_while_it_was_away() {
    let server = Embedded::configured(|config| region(config, 3));
    let mut early = Peer::join(&server.path, VECTORS);
    drop(Peer::join(&vm(&server), VECTORS));
    early.wait_for(3);
    let mut late = Peer::join(&server.path, VECTORS);
    assert!(!late.others.contains_key(&3));
    early.wait_for(late.id);
    let fixed = Peer::join(&vm(&server), VECTORS);
    late.wait_for(3);
    late.check_rings(&fixed);
    early.check_rings(&fixed);
    heard_nothing(&mut [&mut early, &mut late], &server.path);
}

#[test]
fn has_its_place_to_itself() {
    let server = Embedded::configured(|config| region(config, 1));
    let dynamic: Vec<_> = (0..3).map(|_| Peer::join(&server.path, VECTORS)).collect();
    assert_eq!(dynamic.iter().map(|p| p.id).collect::<Vec<_>>(), [0, 2, 3]);
    let refused = Connection::open(&server.path);
    assert!(matches!(refused.receive(), Some((-1, None))));
    let fixed = Peer::join(&vm(&server), VECTORS);
    assert_eq!(fixed.id, 1);
    // While it is there, nobody else can be it.
    let second = Connection::open(&vm(&server));
    assert!(matches!(second.receive(), Some((-1, None))));
    drop(fixed);
    // A program that another test is starting has a copy of its socket, for a moment.
    let back = loop {
        let connection = Connection::open(&vm(&server));
        if matches!(connection.receive(), Some((0, None))) {
            break connection;
        }
    };
    assert_eq!(Peer::welcomed(back, VECTORS).id, 1);
}

#[test]
fn has_its_own_number_of_vectors() {
    let server = Embedded::configured(|config| {
        region(config, 0);
        config.peers[0].vectors = Some(5);
    });
    let fixed = Peer::join(&vm(&server), 5);
    let other = Connection::open(&server.path);
    let ids: Vec<_> = (0..3 + 5 + VECTORS)
        .map(|_| other.receive().unwrap().0)
        .collect();
    assert_eq!(ids, [0, 1, -1, 0, 0, 0, 0, 0, 1, 1]);
    drop(fixed);
}

#[test]
fn can_be_kept_from_writing() {
    let server = Embedded::configured(|config| {
        region(config, 0);
        config.peers[0].read_only = true;
    });
    let reader = Peer::join(&vm(&server), VECTORS);
    let writer = Peer::join(&server.path, VECTORS);
    assert_eq!(rustix::io::pwrite(&writer.memory, b"hello", 0), Ok(5));
    let mut found = [0; 5];
    assert_eq!(rustix::io::pread(&reader.memory, &mut found, 0), Ok(5));
    assert_eq!(&found, b"hello");
    let mode = rustix::fs::fcntl_getfl(&reader.memory).unwrap() & OFlags::RWMODE;
    assert_eq!(mode, OFlags::RDONLY);
    assert_eq!(
        rustix::io::pwrite(&reader.memory, b"x", 0),
        Err(Errno::BADF)
    );
    assert!(ftruncate(&reader.memory, 0).is_err());
}
