// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Clients that do anything at any time, by chance, against the program.
//!
//! `IVSHMEM_CHAOS` says for how many seconds; what is done is the same each time.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::ftruncate;

use crate::client::{Connection, Peer};
use crate::dice::Dice;
use crate::server::Running;

const VECTORS: usize = 3;

/// For how long, unless `IVSHMEM_CHAOS` says otherwise.
const SECONDS: u64 = 3;

/// Connections in the life of one server. There are 65,536 IDs; when they have run out, nobody is told
/// any more who leaves, which is waited for here.
const CONNECTIONS: usize = 30_000;

/// Things that are done between two looks at the server.
const ROUND: usize = 300;

/// Growth of the server's memory after its first rounds that is no leak.
const SLACK: u64 = 1 << 20;

/// A client that behaves as it likes.
struct Rascal {
    connection: Connection,
    /// The descriptors that it has received.
    fds: Vec<OwnedFd>,
}

impl Rascal {
    fn act(&mut self, dice: &mut Dice) {
        let socket = self.connection.socket();
        // What fails here has failed because it was dropped before, which is as it should be.
        match dice.below(8) {
            0 => drop(socket.shutdown(Shutdown::Read)),
            1 => drop(socket.shutdown(Shutdown::Write)),
            2 => {
                let bytes = vec![dice.below(256) as u8; dice.below(5000)];
                let _ = self.connection.try_send(&bytes);
            }
            3 => {
                for fd in &self.fds {
                    let _ = ftruncate(fd, 0);
                    let _ = rustix::io::ioctl_fionbio(fd, dice.below(2) == 0);
                }
            }
            _ => {
                for _ in 0..dice.below(40) {
                    let Some((_, fd)) = self.connection.look() else {
                        break;
                    };
                    self.fds.extend(fd);
                }
            }
        }
    }
}

struct Stage<'path> {
    path: &'path Path,
    status: &'path Path,
    server: Running,
    honest: [Peer; 2],
    descriptors: usize,
    connections: usize,
}

impl<'path> Stage<'path> {
    fn new(path: &'path Path, status: &'path Path) -> Self {
        let status_option = format!("--status-socket={}", status.display());
        let args = ["--vectors=3", "--max-peers=24", &status_option];
        let server = Running::start_after("exec 2>/dev/null", path, &args);
        let mut first = Peer::join(path, VECTORS);
        let second = Peer::join(path, VECTORS);
        first.wait_for(second.id);
        Self {
            path,
            status,
            descriptors: server.descriptors(),
            server,
            honest: [first, second],
            connections: 0,
        }
    }

    fn round(&mut self, dice: &mut Dice) {
        let mut rascals: Vec<Rascal> = Vec::new();
        let mut readers = Vec::new();
        for _ in 0..ROUND {
            match dice.below(10) {
                0..=2 => {
                    self.connections += 1;
                    rascals.push(Rascal {
                        connection: Connection::open(self.path),
                        fds: Vec::new(),
                    });
                }
                3 if !rascals.is_empty() => drop(rascals.swap_remove(dice.below(rascals.len()))),
                4 => readers.push(UnixStream::connect(self.status).unwrap()),
                5 => readers.clear(),
                _ if !rascals.is_empty() => {
                    let index = dice.below(rascals.len());
                    rascals[index].act(dice);
                }
                _ => {}
            }
        }
        // While they are there, others are served.
        let [first, second] = &self.honest;
        first.check_rings(second);
        drop((rascals, readers));
        self.settle();
    }

    /// Waits until the server has noticed that all are gone, and looks what they left behind.
    fn settle(&mut self) {
        let connection = loop {
            let connection = Connection::open(self.path);
            match connection.receive() {
                Some((0, None)) => break connection,
                // It has not noticed yet.
                Some((-1, None)) => {}
                other => panic!("{other:?}"),
            }
        };
        self.connections += 1;
        let mut last = Peer::welcomed(connection, VECTORS);
        while last.others.len() > self.honest.len() {
            last.news();
        }
        let id = last.id;
        // They have not read for a while, and would not hear of one who left meanwhile.
        for peer in &mut self.honest {
            peer.wait_for(id);
        }
        drop(last);
        for peer in &mut self.honest {
            while peer.others.contains_key(&id) {
                peer.news();
            }
        }
        assert!(self.server.is_running());
        let [first, second] = &self.honest;
        first.check_rings(second);
        second.check_rings(first);
        // A status reader goes last, and nobody hears of it.
        let expected = self.descriptors;
        test_limit::wait_until(&format!("it has {expected} descriptors"), || {
            drop(UnixStream::connect(self.status));
            self.server.descriptors() == expected
        });
    }
}

#[test]
fn honest_clients_are_served_among_those_who_do_anything() {
    let seconds = std::env::var("IVSHMEM_CHAOS").map_or(SECONDS, |text| text.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let directory = tempfile::tempdir().unwrap();
    let (path, status) = (
        directory.path().join("socket"),
        directory.path().join("status"),
    );
    let mut dice = Dice::new(seconds);
    let (mut rounds, mut connections) = (0, 0);
    while Instant::now() < end {
        let mut stage = Stage::new(&path, &status);
        (0..5).for_each(|_| stage.round(&mut dice));
        let before = stage.server.peak_memory();
        while Instant::now() < end && stage.connections < CONNECTIONS {
            stage.round(&mut dice);
            rounds += 1;
        }
        let after = stage.server.peak_memory();
        assert!(
            after <= before + SLACK,
            "{before} bytes of memory, {after} at the end"
        );
        connections += stage.connections;
        println!("{rounds} rounds, {connections} connections, memory {before} to {after} bytes");
    }
    assert!(connections > 0);
}
