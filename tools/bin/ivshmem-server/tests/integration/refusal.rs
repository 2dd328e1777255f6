// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Clients that are not served.

use ivshmem_server::{BindError, RegionConfig, Server};
use rustix::net::SendFlags;

use crate::client::{Connection, News, Peer};
use crate::server::{Embedded, Running};

#[track_caller]
fn assert_refused(connection: &Connection) {
    assert!(matches!(connection.receive(), Some((-1, None))));
    assert!(connection.receive().is_none());
}

#[test]
fn full() {
    let server = Embedded::start(1, 2);
    let mut first = Peer::join(&server.path, 1);
    let second = Peer::join(&server.path, 1);
    assert_eq!(first.news(), News::Vector(1));
    for _ in 0..3 {
        assert_refused(&Connection::open(&server.path));
    }
    drop(second);
    assert_eq!(first.news(), News::Left(1));
    assert_eq!(Peer::join(&server.path, 1).id, 2);
}

#[test]
fn waiting_while_the_server_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let server = Server::bind(RegionConfig::new(&path)).unwrap();
    let waiting: Vec<_> = (0..3).map(|_| Connection::open(&path)).collect();
    server.stop_trigger().fire();
    server.run(|_| ()).unwrap();
    waiting.iter().for_each(assert_refused);
    assert!(!path.exists());
}

#[test]
fn client_that_sends() {
    let server = Embedded::start(2, 3);
    let mut witness = Peer::join(&server.path, 2);
    let talker = Peer::join(&server.path, 2);
    for _ in 0..2 {
        assert_eq!(witness.news(), News::Vector(1));
    }
    talker.connection.send(b"x");
    assert_eq!(witness.news(), News::Left(1));
    assert!(talker.connection.receive().is_none());

    // So do urgent bytes, which do not come with the others.
    let urgent = Peer::join(&server.path, 2);
    for _ in 0..2 {
        assert_eq!(witness.news(), News::Vector(2));
    }
    let sent = rustix::net::send(urgent.connection.socket(), b"x", SendFlags::OOB);
    assert_eq!(sent, Ok(1));
    assert_eq!(witness.news(), News::Left(2));

    // One that sends at once still gets its handshake.
    let hasty = Connection::open(&server.path);
    hasty.send(&[0; 4096]);
    let numbers: Vec<_> = (0..3).map(|_| hasty.receive().unwrap().0).collect();
    assert_eq!(numbers, [0, 3, -1]);
    let news: Vec<_> = (0..3).map(|_| witness.news()).collect();
    assert_eq!(news, [News::Vector(3), News::Vector(3), News::Left(3)]);
    assert_eq!(Peer::join(&server.path, 2).id, 4);
}

#[test]
fn out_of_descriptors() {
    let directory = tempfile::tempdir().unwrap();
    // With two descriptors for each client, one of the limits leaves none when all others are
    // taken, and one leaves a single one.
    for limit in [32, 33] {
        let path = directory.path().join(limit.to_string());
        let setup = format!("ulimit -n {limit}");
        let mut server = Running::start_after(&setup, &path, &["--vectors", "1"]);
        let mut witness = Peer::join(&path, 1);
        let mut others = Vec::new();
        loop {
            let connection = Connection::open(&path);
            // The version is all that tells whether a client is served.
            let (0, None) = connection.receive().unwrap() else {
                assert!(connection.receive().is_none());
                break;
            };
            others.push(connection);
            assert_eq!(witness.news(), News::Vector(others.len() as u16));
        }
        assert!(others.len() >= 3, "only {} clients fit", others.len());
        for _ in 0..20 {
            assert_refused(&Connection::open(&path));
        }
        let last = others.len() as u16;
        others.pop();
        assert_eq!(witness.news(), News::Left(last));
        assert_eq!(Peer::join(&path, 1).id, last + 1);
        assert!(server.is_running());
    }
}

#[test]
fn impossible_options() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    for vectors in [0, 257] {
        let mut config = RegionConfig::new(&path);
        config.vectors = vectors;
        let error = Server::bind(config).unwrap_err();
        assert!(matches!(error, BindError::Vectors(v) if v == vectors));
    }
    for max_peers in [0, 65537] {
        let mut config = RegionConfig::new(&path);
        config.max_peers = max_peers;
        let error = Server::bind(config).unwrap_err();
        assert!(matches!(error, BindError::MaxPeers(n) if n == max_peers));
    }
    assert!(!path.exists());
}
