// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What clients could do to the server, or to each other by it.

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{recv, RecvFlags};
use rustix::process::{getrlimit, kill_process, prlimit, Pid, Resource, Rlimit, Signal};
use tempfile::TempDir;

use crate::client::{Connection, News, Peer};
use crate::manager::Manager;
use crate::server::{Running, Unprivileged, PROGRAM};

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    (directory, path)
}

/// A server that logs to `log` whatever there is to say.
fn talkative(path: &PathBuf, log: impl Into<Stdio>) -> Child {
    let child = Command::new(PROGRAM)
        .args([
            "--log-level=debug",
            "--vectors=1",
            "--max-peers=3",
            "--join-rate=0",
        ])
        .arg("--socket-path")
        .arg(path)
        .stderr(log)
        .spawn()
        .unwrap();
    test_limit::wait_until("the socket takes connections", || {
        UnixStream::connect(path).is_ok()
    });
    child
}

fn end(mut child: Child) {
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A pipe takes 64 KiB; each client causes some hundred bytes.
#[test]
fn log_that_nobody_reads_stops_nothing() {
    let (_directory, path) = place();
    let mut child = talkative(&path, Stdio::piped());
    let _unread = child.stderr.take().unwrap();
    let mut witness = Peer::join(&path, 1);
    for _ in 0..800 {
        let other = Peer::join(&path, 1);
        let id = other.id;
        drop(other);
        assert_eq!(witness.news(), News::Vector(id));
        assert_eq!(witness.news(), News::Left(id));
    }
    end(child);
}

#[test]
fn log_is_not_flooded() {
    const CLIENTS: usize = 4000;
    let (directory, path) = place();
    let log = directory.path().join("log");
    let child = talkative(&path, File::create(&log).unwrap());
    let _full: Vec<_> = (0..3).map(|_| Peer::join(&path, 1)).collect();
    let begin = Instant::now();
    for _ in 0..CLIENTS {
        let refused = Connection::open(&path);
        assert!(matches!(refused.receive(), Some((-1, None))));
    }
    end(child);
    let text = std::fs::read_to_string(&log).unwrap();
    let lines = text.lines().count();
    // A burst of 1000, and 20 in each second of however many it took.
    let most = 1100 + 20 * begin.elapsed().as_secs() as usize;
    assert!((900..most).contains(&lines), "{lines} lines of {most}");
    assert!(text.contains("all 3 places are taken"), "{text}");
}

/// What a client that is refused again and again causes does not keep from the log what others do.
#[test]
fn refusals_do_not_hide_others_in_the_log() {
    let (directory, path) = place();
    let log = directory.path().join("log");
    let child = talkative(&path, File::create(&log).unwrap());
    let mut full: Vec<_> = (0..3).map(|_| Peer::join(&path, 1)).collect();
    for _ in 0..2000 {
        let refused = Connection::open(&path);
        assert!(matches!(refused.receive(), Some((-1, None))));
    }
    full.pop();
    let again = loop {
        let connection = Connection::open(&path);
        if let Some((0, None)) = connection.receive() {
            break Peer::welcomed(connection, 1);
        }
    };
    end(child);
    let text = std::fs::read_to_string(&log).unwrap();
    let expected = format!("peer {} joined", again.id);
    assert!(text.contains(&expected), "{text}");
}

/// One that comes back as soon as it has gone, as a client does that cannot use what it gets, uses up
/// neither the IDs nor the patience of others.
#[test]
fn one_who_joins_without_end_is_refused() {
    let (_directory, path) = place();
    let _server = Running::start_limited(&path, &["--vectors=1", "--max-peers=5", "--join-rate=1"]);
    let witness = Peer::join(&path, 1);
    let mut joined = 0;
    for _ in 0..500 {
        let connection = Connection::open(&path);
        match connection.receive() {
            Some((0, None)) => joined += 1,
            Some((-1, None)) => {}
            other => panic!("{other:?}"),
        }
        drop(connection);
        while witness.connection.look().is_some() {}
    }
    // One in a minute besides, and this takes no minute if the machine is not very slow.
    assert!((19..25).contains(&joined), "{joined}");
}

#[test]
fn one_user_has_no_more_places_than_allowed() {
    let (_directory, path) = place();
    let args = ["--vectors=1", "--max-peers-per-user=2"];
    let _server = Running::start(&path, &args);
    let first = Peer::join(&path, 1);
    let _second = Peer::join(&path, 1);
    let refused = || matches!(Connection::open(&path).receive(), Some((-1, None)));
    assert!(refused());
    drop(first);
    while refused() {}
}

/// QEMU dies if it cannot have a descriptor that it is sent.
#[test]
fn no_client_is_sent_more_descriptors_than_it_can_have() {
    let (_directory, path) = place();
    let socket = format!("--socket-path={}", path.display());
    let output = Command::new(PROGRAM)
        .args(["--vectors=64", "--max-peers=64", &socket])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("would take 4096 descriptors in each QEMU"),
        "{text}"
    );
    let args = [
        "--vectors=64",
        "--max-peers=64",
        "--client-descriptors=4220",
    ];
    drop(Running::start_limited(&path, &args));
    // If nobody says how many there are to be, as many as each can have descriptors for.
    drop(Running::start_limited(&path, &["--vectors=64"]));
}

/// Whoever sends something in the middle of its greeting has its handshake by then, and is dropped at once.
#[test]
fn clients_that_send_keep_no_place() {
    const PLACES: usize = 4;
    let (directory, path) = place();
    let manager = Manager::new(&directory.path().join("notify"));
    let socket = format!("--socket-path={}", path.display());
    let args = ["--fd-store", "--vectors=1", "--max-peers=4", &socket];
    let _server = manager.start(&args);
    let mut witness = Peer::join(&path, 1);
    let mut rascals = Vec::new();
    for _ in 0..2 * PLACES {
        let rascal = Connection::open(&path);
        let version = recv(rascal.socket(), &mut [1; 8], RecvFlags::PEEK).unwrap();
        assert_eq!(version.0, 8);
        rascal.send(b"x");
        assert!(matches!(witness.news(), News::Vector(_)));
        assert!(matches!(witness.news(), News::Left(_)));
        rascals.push(rascal);
    }
    assert!(matches!(rascals[0].receive(), Some((0, None))));
}

/// The kernel counts descriptors that are in sockets, unread, by user, and allows an unprivileged one
/// no more of them than it can have open files.
#[test]
fn clients_that_never_read_do_not_stop_those_who_do() {
    const SILENT: usize = 30;
    let (directory, path) = place();
    let vectors = 8;
    let mut server = Unprivileged::start(directory.path(), 4096, &["--vectors=8"]);
    let silent: Vec<_> = (0..SILENT).map(|_| Connection::open(&path)).collect();
    // They have been let in, and sent all that their sockets take, when one more has been greeted.
    for round in 0..3 {
        let honest = Peer::greeted(Connection::open(&path), vectors);
        assert_eq!(usize::from(honest.id), SILENT + round);
        // The one before may not have been missed yet.
        assert!(honest.others.len() >= SILENT);
    }
    assert!(server.is_running());
    drop(silent);
}

/// Whoever waits to be accepted makes the listening socket ready, also that of the status report.
#[test]
fn waiting_for_descriptors_takes_no_processor() {
    let (directory, path) = place();
    let status = directory.path().join("status");
    let option = format!("--status-socket={}", status.display());
    let server = Running::start(&path, &["--vectors=1", &option]);
    let pid = Pid::from_raw(i32::try_from(server.id()).unwrap());
    let usual = prlimit(pid, Resource::Nofile, limit(Some(3))).unwrap();
    let client = Connection::open(&path);
    let connect = |_| UnixStream::connect(&status).unwrap();
    let readers: Vec<_> = (0..3).map(connect).collect();
    let before = server.cpu_time();
    let time = Duration::from_millis(500);
    std::thread::sleep(time);
    let spent = server.cpu_time() - before;
    assert!(spent < time / 10, "{spent:?} of {time:?}");
    // They are served as soon as that is possible.
    prlimit(pid, Resource::Nofile, usual).unwrap();
    assert_eq!(Peer::greeted(client, 1).id, 0);
    for mut reader in readers {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.starts_with('{'), "{text}");
    }
}

/// A limit of descriptors that can be raised again.
fn limit(current: Option<u64>) -> Rlimit {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Rlimit { current, maximum }
}
