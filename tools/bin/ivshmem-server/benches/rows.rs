// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What clients cost the server, and what they can do to each other, as rows of a table.
//!
//! ```text
//! cargo bench -p ivshmem-server --bench rows
//! cargo bench -p ivshmem-server --bench rows -- joins
//! ```
//!
//! Without a name all rows are made, else those of `crowds`, `joins` or `kills`. With `--series` their numbers are printed as
//! ivshmem-bench reads them.
//!
//! `IVSHMEM_KILLS` says how often a server is killed, 200 times if it is not set.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{eventfd, EventfdFlags};
use rustix::net::{sendmsg, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::time::{clock_gettime, ClockId};

#[path = "../tests/integration/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../tests/integration/crowd.rs"]
#[allow(dead_code)]
mod crowd;
#[path = "../tests/integration/dice.rs"]
#[allow(dead_code)]
mod dice;
#[path = "../tests/integration/kill.rs"]
#[allow(dead_code)]
mod kill;
#[path = "../tests/integration/manager.rs"]
#[allow(dead_code)]
mod manager;
#[path = "../tests/integration/server.rs"]
#[allow(dead_code)]
mod server;

/// What [`manager`] starts.
mod service {
    pub use crate::server::{program, Running};
}

use client::{raise_descriptor_limit, Connection, Peer};
use crowd::Crowd;
use server::{Running, Unprivileged};

/// Vectors of each client, where nothing else is said.
const VECTORS: usize = 8;

fn row(what: &str, value: &str) {
    if !as_series() {
        println!("{what:<64} {value}");
    }
}

/// Whether another program reads what is printed.
fn as_series() -> bool {
    std::env::args().any(|arg| arg == "--series")
}

/// A time as a series of one sample.
fn series(name: &str, time: Duration) {
    if as_series() {
        let ns = time.as_nanos();
        println!("series server.{name} {ns} {ns} {ns} 1");
    }
}

/// A number that is no time.
fn count(name: &str, value: u64) {
    if as_series() {
        println!("count server.{name} {value}");
    }
}

fn main() {
    raise_descriptor_limit();
    if as_series() {
        println!("ticks_per_second 1000000000");
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| {
        let mut names = args.iter().filter(|arg| !arg.starts_with('-')).peekable();
        names.peek().is_none() || names.any(|arg| arg == name)
    };
    if wanted("crowds") {
        // With 64 vectors as many as a hard limit of 20,000 open files allows.
        for (count, vectors) in [(1000, 8), (2000, 8), (250, 64)] {
            never_readers(count, vectors);
        }
        honest_among_silent();
    }
    if wanted("joins") {
        row(
            "a message with a descriptor, by sendmsg",
            &format!("{:?}", floor()),
        );
        joins(100, false, 5);
        joins(100, true, 5);
        joins(1000, false, 1);
    }
    if wanted("kills") {
        let kills = std::env::var("IVSHMEM_KILLS").map_or(200, |text| text.parse().unwrap());
        let (greeted, orphaned) = kill::kills(kills);
        row(
            &format!("{kills} kills with a store: clients greeted, closed before a word"),
            &format!("{greeted}, {orphaned}"),
        );
    }
}

/// Clients that connect, never read, and go all at once.
fn never_readers(count: usize, vectors: usize) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let options = [
        format!("--vectors={vectors}"),
        format!("--max-peers={}", count + 8),
    ];
    let server = Running::start(&path, &options.each_ref().map(String::as_str));
    let silent: Vec<_> = (0..count).map(|_| Connection::open(&path)).collect();
    version(&path);
    let peak = server.peak_memory() >> 10;
    let what = format!("{count} never-readers of {vectors} vectors");
    row(
        &format!("{what}: memory of the server"),
        &format!("{peak} KiB"),
    );
    let name = format!("silent.{count}x{vectors}");
    self::count(&format!("{name}.memory"), peak);
    let before = server.cpu_time();
    drop(silent);
    let start = Instant::now();
    version(&path);
    let waited = start.elapsed();
    while server.descriptors() > 100 + vectors {
        std::thread::sleep(Duration::from_millis(5));
    }
    let spent = server.cpu_time() - before;
    row(
        &format!("{what}, gone at once: an honest client waits"),
        &format!("{waited:.1?}"),
    );
    self::count(&format!("{name}.waits"), waited.as_micros() as u64);
    row(
        &format!("{what}, gone at once: CPU time"),
        &format!("{spent:.1?}"),
    );
}

/// Connects, and waits for the first word.
fn version(path: &Path) {
    assert!(matches!(Connection::open(path).receive(), Some((0, None))));
}

/// Joins of an honest client, while others hold in their sockets all that they can, beside joins among as many who
/// read: both are told of 30 others.
fn honest_among_silent() {
    const OTHERS: usize = 30;
    let joins = |reads: bool| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let args = ["--vectors=8", "--join-rate=0"];
        let server = Unprivileged::start(directory.path(), 4096, &args);
        let others: Vec<_> = (0..OTHERS).map(|_| Connection::open(&path)).collect();
        version(&path);
        let time = || median(|| drop(Peer::greeted(Connection::open(&path), VECTORS)));
        std::thread::scope(|scope| {
            if reads {
                for other in &others {
                    scope.spawn(|| while other.receive().is_some() {});
                }
            }
            let time = time();
            drop(server);
            time
        })
    };
    let (quiet, loud) = (joins(true), joins(false));
    series("join.among_readers", quiet);
    series("join.among_silent", loud);
    row(
        "a join among 30 who read, limit 4096",
        &format!("{quiet:.1?}"),
    );
    row(
        "a join among 30 never-readers, limit 4096",
        &format!("{loud:.1?}"),
    );
    let ratio = loud.as_secs_f64() / quiet.as_secs_f64();
    row(
        "the same, as a multiple of that before",
        &format!("{ratio:.2}"),
    );
}

fn median(mut what: impl FnMut()) -> Duration {
    let time = |_| {
        let start = Instant::now();
        what();
        start.elapsed()
    };
    middle((0..31).map(time).collect())
}

/// The median.
fn middle<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap());
    values[values.len() / 2]
}

/// CPU time of the sender for a message through one pair of sockets.
fn floor() -> Duration {
    const MESSAGES: u32 = 50_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let connection = Connection::open(&path);
    let (ours, _) = listener.accept().unwrap();
    let reader = std::thread::spawn(move || while connection.receive().is_some() {});
    let fd: OwnedFd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
    let before = thread_time();
    for _ in 0..MESSAGES {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [fd.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(
            &ours,
            &[IoSlice::new(&[0; 8])],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
        .unwrap();
    }
    let spent = thread_time() - before;
    drop(ours);
    reader.join().unwrap();
    spent / MESSAGES
}

fn thread_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

/// What a message of a join costs the server when so many are there, as a multiple of what it costs by `sendmsg`,
/// which is measured before and after. The median of so many servers.
fn joins(count: usize, kept: bool, servers: usize) {
    let how = if kept { ", with a store" } else { "" };
    let name = if kept { "join.kept" } else { "join" };
    let ratio = |_| {
        let before = floor();
        let each = message_of_join(count, kept);
        let floor = (before + floor()) / 2;
        (each.as_secs_f64() / floor.as_secs_f64(), each, floor)
    };
    let (ratio, each, floor) = middle((0..servers).map(ratio).collect());
    series(&format!("{name}.{count}"), each);
    series(&format!("{name}.{count}.floor"), floor);
    row(
        &format!("a message of a join of {count}{how}, as a multiple of that"),
        &format!("{ratio:.2}"),
    );
}

/// CPU time of the server for a message of a join when so many are there: the mean of the last tenth of them.
fn message_of_join(count: usize, kept: bool) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let max_peers = format!("--max-peers={count}");
    let socket = format!("--socket-path={}", path.display());
    let manager = manager::Manager::new(&directory.path().join("notify"));
    let server = if kept {
        let unlimited = "--client-descriptors=1000000";
        manager.start(&["--fd-store", "--vectors=8", &max_peers, unlimited, &socket])
    } else {
        Running::start(&path, &["--vectors=8", &max_peers])
    };
    let mut crowd = Crowd::new();
    let mut before = server.cpu_time();
    let mut messages = 0;
    for others in 0..count {
        if others == count - count / 10 {
            (before, messages) = (server.cpu_time(), 0);
        }
        crowd.join(&path, count);
        let expected = crowd::messages_of_join(others);
        crowd.read(expected);
        messages += expected as u32 + 1;
    }
    (server.cpu_time() - before) / messages
}
