// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Servers that are killed, at any point of whatever they do.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;

use crate::client::{raise_descriptor_limit, ring, rung, Connection, Peer};
use crate::dice::Dice;
use crate::manager::Manager;
use crate::server::Running;

const VECTORS: usize = 3;
const MEMBERS: usize = 4;
const JOINERS: usize = 3;

/// How often the server is killed, unless `IVSHMEM_KILLS` says otherwise.
const KILLS: usize = 25;

/// How often a server and its successors are killed before another one begins. There are 65,536 IDs, and when they
/// have run out, nobody is told any more who leaves.
const KILLS_OF_ONE: usize = 500;

/// Longest time that a server lives after it has served somebody. It is busy all the time.
const LIFE: Duration = Duration::from_millis(25);

/// Clients that come and go as long as they are let.
#[derive(Default)]
struct Joiners {
    stop: AtomicBool,
    greeted: AtomicUsize,
    /// Connections that were closed before they were told anything.
    orphaned: AtomicUsize,
}

impl Joiners {
    fn run(&self, path: &Path) {
        while !self.stop.load(Ordering::Relaxed) {
            let connection = Connection::open(path);
            match connection.receive() {
                // The server was killed between the two system calls by which it accepts a
                // client and has its connection kept. There is no way to do both at once.
                None => {
                    self.orphaned.fetch_add(1, Ordering::Relaxed);
                }
                Some(first) => {
                    assert!(matches!(first, (0, None)), "{first:?}");
                    drop(Peer::welcomed(connection, VECTORS));
                    self.greeted.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// A guest that stays, and reads all the time, until it knows all of a client that does not
/// exist yet, and has heard of the end of all who came and went: the server may see the last one come first.
fn member(mut peer: Peer, last: Arc<AtomicUsize>) -> JoinHandle<Peer> {
    std::thread::spawn(move || loop {
        let last = last.load(Ordering::Relaxed);
        let known = u16::try_from(last).ok().and_then(|id| peer.others.get(&id));
        if known.is_some_and(|fds| fds.len() == VECTORS) && peer.others.len() <= MEMBERS {
            return peer;
        }
        peer.news();
    })
}

struct Stage {
    _directory: tempfile::TempDir,
    path: PathBuf,
    manager: Manager,
    args: [String; 5],
}

impl Stage {
    fn new() -> Self {
        raise_descriptor_limit();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let manager = Manager::new(&directory.path().join("notify"));
        let vectors = format!("--vectors={VECTORS}");
        let socket = format!("--socket-path={}", path.display());
        let args = [
            "--fd-store",
            "--size=64K",
            "--max-peers=40",
            &vectors,
            &socket,
        ];
        Self {
            args: args.map(str::to_owned),
            path,
            manager,
            _directory: directory,
        }
    }

    fn spawn(&self) -> Running {
        self.manager
            .spawn(&self.args.each_ref().map(String::as_str))
    }

    /// Kills a server and waits for its end.
    fn kill(&self, server: Running) {
        server.signal(Signal::KILL);
        assert!(!server.wait().success());
        self.manager.catch_up();
    }
}

#[test]
fn at_random_points_of_joins() {
    let count = std::env::var("IVSHMEM_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let (greeted, orphaned) = kills(count);
    println!("{count} kills: {greeted} clients greeted, {orphaned} closed before the first byte");
    assert!(greeted > count);
}

/// Kills servers so often, while clients come and go, and checks that none is told anything wrong. Returns how
/// many were greeted, and how many were closed without a word, as there is a moment in which they are.
pub fn kills(kills: usize) -> (usize, usize) {
    let mut total = (0, 0);
    let mut left = kills;
    while left > 0 {
        let (greeted, orphaned) = kills_of_one(left.min(KILLS_OF_ONE), left as u64);
        total = (total.0 + greeted, total.1 + orphaned);
        left -= left.min(KILLS_OF_ONE);
    }
    total
}

/// The same with one server and its successors.
fn kills_of_one(kills: usize, seed: u64) -> (usize, usize) {
    let stage = Stage::new();
    let mut server = stage.spawn();
    stage.manager.wait_until_ready();
    let mut members: Vec<_> = (0..MEMBERS)
        .map(|_| Peer::join(&stage.path, VECTORS))
        .collect();
    for index in 0..MEMBERS {
        for other in index + 1..MEMBERS {
            let id = members[other].id;
            members[index].wait_for(id);
        }
    }
    let bell = members[0].others[&members[1].id][0].try_clone().unwrap();
    let ear = members[1].own[0].try_clone().unwrap();
    let last = Arc::new(AtomicUsize::new(usize::MAX));
    let members: Vec<_> = members
        .into_iter()
        .map(|peer| member(peer, Arc::clone(&last)))
        .collect();
    let joiners = Joiners::default();
    // Alive until the end.
    let _server = std::thread::scope(|scope| {
        for _ in 0..JOINERS {
            scope.spawn(|| joiners.run(&stage.path));
        }
        let mut dice = Dice::new(seed);
        for round in 0..kills {
            // Every third one is killed before it is ready, the others when they have served somebody.
            if round % 3 != 0 {
                stage.manager.wait_until_ready();
                let before = joiners.greeted.load(Ordering::Relaxed);
                test_limit::wait_until("a client is greeted", || {
                    joiners.greeted.load(Ordering::Relaxed) > before
                });
            }
            std::thread::sleep(dice.up_to(LIFE));
            stage.kill(server);
            ring(&bell, 1);
            assert_eq!(rung(&ear), 1, "while there is no server");
            server = stage.spawn();
        }
        stage.manager.wait_until_ready();
        joiners.stop.store(true, Ordering::Relaxed);
        server
    });
    let last_one = finish(&stage, &last);
    let members: Vec<_> = members.into_iter().map(|m| m.join().unwrap()).collect();
    for peer in &members {
        last_one.check_rings(peer);
        peer.check_rings(&last_one);
        for other in members.iter().filter(|other| other.id != peer.id) {
            peer.check_rings(other);
        }
        assert_eq!(peer.others.len(), MEMBERS, "{:?}", peer.others.keys());
    }
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    (count(&joiners.greeted), count(&joiners.orphaned))
}

/// Lets the client come by which the members know that all is over.
fn finish(stage: &Stage, last: &AtomicUsize) -> Peer {
    // All joiners have gone, which the server may have to notice yet. Once it has, it is known
    // which ID comes next.
    let mut marker = Peer::join(&stage.path, VECTORS);
    while marker.others.len() > MEMBERS {
        marker.news();
    }
    // The members look at this when they hear of the marker's end.
    last.store(usize::from(marker.id) + 1, Ordering::Relaxed);
    drop(marker);
    let mut last_one = Peer::join(&stage.path, VECTORS);
    while last_one.others.len() > MEMBERS {
        last_one.news();
    }
    last_one
}
