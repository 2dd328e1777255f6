// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Servers that follow one another, without the clients noticing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use ivshmem_server::{Config, RegionConfig, Server, TakeOver, Triggers};
use rustix::fs::fstat;
use rustix::io::ioctl_fionread;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::client::{raise_descriptor_limit, Connection, News, Peer};
use crate::manager::Manager;
use crate::server::{Running, PROGRAM};

const VECTORS: usize = 2;

struct Place {
    directory: TempDir,
    path: PathBuf,
    socket: String,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        Self {
            socket: format!("--socket-path={}", path.display()),
            path,
            directory,
        }
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn left(&self) -> usize {
        std::fs::read_dir(self.directory.path()).unwrap().count()
    }
}

/// Two clients that know each other.
fn couple(place: &Place) -> (Peer, Peer) {
    let mut first = Peer::join(&place.path, VECTORS);
    let second = Peer::join(&place.path, VECTORS);
    first.wait_for(second.id);
    (first, second)
}

/// Clients of the server before, and one that comes, find each other.
fn check_all(place: &Place, first: &mut Peer, second: &mut Peer) {
    check_next(place, first, second, 2);
}

/// The same where it gets this ID.
fn check_next(place: &Place, first: &mut Peer, second: &mut Peer, id: u16) {
    let third = Peer::join(&place.path, VECTORS);
    assert_eq!(third.id, id);
    for old in [&mut *first, second] {
        old.wait_for(third.id);
        old.check_rings(&third);
        third.check_rings(old);
        let inodes = [old, &third].map(|peer| fstat(&peer.memory).unwrap().st_ino);
        assert_eq!(inodes[0], inodes[1]);
    }
    first.check_rings(second);
    drop(third);
    assert_eq!(first.news(), News::Left(id));
    assert_eq!(second.news(), News::Left(id));
}

#[test]
fn successor_takes_over_by_itself() {
    let place = Place::new();
    let hand_over = place.file("hand-over");
    let memory = format!("--memory=path:{}", place.file("memory"));
    let common = ["--vectors=2", "--hand-over", &hand_over, &memory];
    let old = Running::start(&place.path, &common);
    let (mut first, mut second) = couple(&place);
    let files = place.left();
    let args = [&common[..], &["--take-over", &hand_over]].concat();
    let new = Running::start(&place.path, &args);
    assert_eq!(old.wait().code(), Some(0));
    assert_eq!(place.left(), files);
    check_all(&place, &mut first, &mut second);
    // The successor can have one, too, and the last one cleans up.
    let newer = Running::start(&place.path, &args);
    assert_eq!(new.wait().code(), Some(0));
    first.check_rings(&second);
    newer.signal(Signal::TERM);
    assert_eq!(newer.wait().code(), Some(0));
    assert_eq!(place.left(), 0);
}

#[test]
fn messages_that_wait_go_over() {
    const OTHERS: u16 = 200;
    raise_descriptor_limit();
    let place = Place::new();
    let hand_over = place.file("hand-over");
    let common = ["--vectors=2", "--max-peers=300", "--hand-over", &hand_over];
    let old = Running::start(&place.path, &common);
    // It reads nothing, so that more waits for it than its socket takes.
    let sleeper = Connection::open(&place.path);
    let mut others: Vec<_> = (0..OTHERS)
        .map(|_| {
            let mut other = Peer::join(&place.path, VECTORS);
            other.others.clear();
            other
        })
        .collect();
    let args = [&common[..], &["--take-over", &hand_over]].concat();
    let _new = Running::start(&place.path, &args);
    assert_eq!(old.wait().code(), Some(0));
    // One whose announcement waits still, and one who was announced.
    let gone = [others.pop().unwrap().id, others.remove(0).id];
    let last = Peer::join(&place.path, VECTORS);
    let mut sleeper = Peer::greeted(sleeper, VECTORS);
    sleeper.wait_for(last.id);
    // The server may see who comes before it sees who went.
    while gone.iter().any(|id| sleeper.others.contains_key(id)) {
        sleeper.news();
    }
    assert_eq!(sleeper.others.len(), others.len() + 1);
    others.iter().for_each(|other| sleeper.check_rings(other));
    sleeper.check_rings(&last);
}

#[test]
fn successor_that_fails_does_no_harm() {
    let place = Place::new();
    let hand_over = place.file("hand-over");
    let common = ["--vectors=2", "--hand-over", &hand_over];
    let mut old = Running::start(&place.path, &common);
    let (mut first, mut second) = couple(&place);
    let failed = Command::new(PROGRAM)
        .args([&place.socket, "--size=128M", "--take-over", &hand_over])
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let text = String::from_utf8(failed.stderr).unwrap();
    assert!(text.contains("cannot become 128M"), "{text}");
    assert!(old.is_running());
    check_all(&place, &mut first, &mut second);
}

/// What it had in place is still the other one's.
#[test]
fn successor_that_fails_at_last_leaves_the_files() {
    let place = Place::new();
    let hand_over = place.file("hand-over");
    let memory = format!("--memory=path:{}", place.file("memory"));
    let common = ["--vectors=2", "--hand-over", &hand_over, &memory];
    let mut old = Running::start(&place.path, &common);
    let (mut first, mut second) = couple(&place);
    let files = place.left();
    let pid = format!("--pidfile={}", place.file("missing/pid"));
    let failed = Command::new(PROGRAM)
        .args([&place.socket, "--foreground", &pid])
        .args(common)
        .args(["--take-over", &hand_over])
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let text = String::from_utf8(failed.stderr).unwrap();
    assert!(text.contains("cannot write the process ID"), "{text}");
    assert!(old.is_running());
    assert_eq!(place.left(), files);
    check_all(&place, &mut first, &mut second);
}

/// A report is asked for while a successor is slow.
#[test]
fn signal_does_not_disturb_a_hand_over() {
    let place = Place::new();
    let hand_over = place.file("hand-over");
    let old = Running::start(&place.path, &["--vectors=2", "--hand-over", &hand_over]);
    let mut successor = UnixStream::connect(&hand_over).unwrap();
    successor
        .set_read_timeout(Some(test_limit::limit()))
        .unwrap();
    let mut packet = [0; 256];
    successor.read_exact(&mut packet).unwrap();
    assert!(packet.starts_with(b"journal"));
    // It waits for the answer, and is interrupted there.
    let is = |line: &str| old.status().lines().any(|found| found == line);
    test_limit::wait_until("it waits", || is("State:\tS (sleeping)"));
    old.signal(Signal::USR1);
    test_limit::wait_until("it is interrupted", || is("ShdPnd:\t0000000000000000"));
    successor.write_all(&[0]).unwrap();
    successor.read_exact(&mut packet).unwrap();
    let name = packet.split(|byte| *byte == 0).next().unwrap();
    assert!(name.starts_with(b"listener"), "{}", name.escape_ascii());
}

/// The socket of a client that has never read can have been lent more than there is to lend.
#[test]
fn sockets_that_go_over_have_their_share() {
    const MANY: usize = 256;
    const SHARE: usize = 6;
    let place = Place::new();
    let hand_over = place.file("hand-over");
    let common = [
        "--vectors=256",
        "--max-peers=1000",
        "--hand-over",
        &hand_over,
    ];
    let low = "ulimit -n 1024";
    let old = Running::start_after(low, &place.path, &common);
    let sleeper = Connection::open(&place.path);
    let waiting = || ioctl_fionread(&sleeper).unwrap() as usize / 8;
    test_limit::wait_until("the greeting", || waiting() > 4 * SHARE);
    let args = [&common[..], &["--take-over", &hand_over]].concat();
    let _new = Running::start_after(low, &place.path, &args);
    assert_eq!(old.wait().code(), Some(0));
    for _ in 0..MANY / 2 {
        sleeper.receive().unwrap();
    }
    // Whoever comes now is served after it.
    drop(Peer::greeted(Connection::open(&place.path), MANY));
    assert!(waiting() <= 2 * SHARE, "{}", waiting());
}

/// A successor that has everything, but has not said so.
fn hesitant(place: &Place, hand_over: &str) -> (TakeOver, Server) {
    let mut region = RegionConfig::new(&place.path);
    region.vectors = VECTORS as u16;
    let mut config = Config::from(region);
    config.hand_over = Some(hand_over.into());
    let (take_over, everything) = TakeOver::ask(hand_over.as_ref()).unwrap();
    let triggers = Triggers::new().unwrap();
    let server = Server::start(config, everything, None, triggers).unwrap();
    (take_over, server)
}

#[test]
fn predecessor_that_is_killed_meanwhile_is_no_loss() {
    let place = Place::new();
    let hand_over = place.file("hand-over");
    let old = Running::start(&place.path, &["--vectors=2", "--hand-over", &hand_over]);
    let (mut first, mut second) = couple(&place);
    let (take_over, mut server) = hesitant(&place, &hand_over);
    old.signal(Signal::KILL);
    old.wait();
    take_over.finish(&mut server).unwrap();
    let stop = server.stop_trigger();
    let thread = std::thread::spawn(move || server.run(|_| ()));
    check_all(&place, &mut first, &mut second);
    stop.fire();
    thread.join().unwrap().unwrap();
    assert_eq!(place.left(), 0);
}

#[test]
fn successor_that_is_too_slow_takes_nothing_away() {
    let place = Place::new();
    let hand_over = place.file("hand-over");
    let _old = Running::start(&place.path, &["--vectors=2", "--hand-over", &hand_over]);
    let (mut first, mut second) = couple(&place);
    let files = place.left();
    let (take_over, mut server) = hesitant(&place, &hand_over);
    // Served after ten seconds, when it is not waited for any more.
    drop(Peer::join(&place.path, VECTORS));
    for old in [&mut first, &mut second] {
        while old.news() != News::Left(2) {}
    }
    let error = take_over.finish(&mut server).unwrap_err();
    assert!(error.to_string().contains("it goes on"), "{error}");
    drop(server);
    assert_eq!(place.left(), files);
    check_next(&place, &mut first, &mut second, 3);
}

/// A connection of which somebody has a copy is open after the server has closed its own.
#[test]
fn successor_that_gives_up_and_stays_does_not_keep_the_server_busy() {
    let place = Place::new();
    let hand_over = place.file("hand-over");
    let old = Running::start(&place.path, &["--vectors=2", "--hand-over", &hand_over]);
    let (mut first, second) = couple(&place);
    let (take_over, copies) = TakeOver::ask(hand_over.as_ref()).unwrap();
    drop(take_over);
    drop(second);
    assert_eq!(first.news(), News::Left(1));
    let sleeps = || old.status().contains("\nState:\tS");
    test_limit::wait_until("the server sleeps", sleeps);
    drop(copies);
}

#[test]
fn nobody_to_take_over_from() {
    let place = Place::new();
    let output = Command::new(PROGRAM)
        .args([&place.socket, "--take-over", &place.file("nothing")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("cannot take over by"), "{text}");
}

#[test]
fn restart_by_a_service_manager() {
    let place = Place::new();
    let manager = Manager::new(&place.directory.path().join("notify"));
    let args = ["--fd-store", "--vectors=2", &place.socket];
    let mut server = manager.start(&args);
    let (mut first, mut second) = couple(&place);
    for signal in [Signal::TERM, Signal::KILL, Signal::TERM] {
        server.signal(signal);
        server.wait();
        manager.catch_up();
        let names = manager.names();
        assert_eq!(names.iter().filter(|n| *n == "journal").count(), 1);
        assert_eq!(
            names
                .iter()
                .filter(|n| n.starts_with("connection."))
                .count(),
            2
        );
        server = manager.start(&args);
    }
    check_all(&place, &mut first, &mut second);
    // What is kept is what is needed: per client a socket and its eventfds.
    drop((first, second));
    let last = Peer::join(&place.path, VECTORS);
    // A program that another test is starting has a copy of their sockets, for a moment.
    test_limit::wait_until("the others are forgotten", || {
        let names = manager.names();
        let connections = names.iter().filter(|name| name.starts_with("connection."));
        connections.count() == 1
    });
    server.signal(Signal::TERM);
    server.wait();
    manager.catch_up();
    let names = manager.names();
    let expected = [
        "connection.3.ivshmem",
        "doorbells.ivshmem.3",
        "doorbells.ivshmem.3",
    ];
    assert_eq!(&names[..3], expected, "{names:?}");
    assert_eq!(names.len(), expected.len() + 4, "{names:?}");
    drop(last);
}

#[test]
fn client_that_goes_while_there_is_no_server() {
    let place = Place::new();
    let manager = Manager::new(&place.directory.path().join("notify"));
    let args = ["--fd-store", "--vectors=2", &place.socket];
    let server = manager.start(&args);
    let (mut first, second) = couple(&place);
    server.signal(Signal::KILL);
    server.wait();
    manager.catch_up();
    drop(second);
    let _server = manager.start(&args);
    assert_eq!(first.news(), News::Left(1));
}

/// The kernel wakes who waits for a message to be read a moment before it counts it as read. A
/// server that asks in between must ask again, for nothing will wake it any more. One message in
/// thousands meets that moment.
#[test]
fn a_client_that_reads_at_once_is_not_forgotten() {
    const MANY: usize = 256;
    const JOINS: usize = 300;
    raise_descriptor_limit();
    let place = Place::new();
    let manager = Manager::new(&place.directory.path().join("notify"));
    let vectors = format!("--vectors={MANY}");
    let _server = manager.start(&["--fd-store", "--max-peers=3", &vectors, &place.socket]);
    for _ in 0..JOINS {
        let peer = Peer::greeted(Connection::open(&place.path), MANY);
        assert_eq!(peer.own.len(), MANY);
    }
}

/// A journal that was begun anew must not be one descriptor more: a manager that has no room drops it, and
/// all is lost.
#[test]
fn full_store_loses_nobody_who_is_in_it() {
    let place = Place::new();
    let notify = place.directory.path().join("notify");
    // Journal, memory, socket and lock, and four clients with two vectors; not a fifth.
    let manager = Manager::with_room(&notify, 4 + 4 * 3 + 1, false);
    let args = ["--fd-store", "--vectors=2", &place.socket];
    let mut server = manager.start(&args);
    let (mut first, mut second) = couple(&place);
    let others: Vec<_> = (0..2).map(|_| Peer::join(&place.path, VECTORS)).collect();
    let _lost = Peer::join(&place.path, VECTORS);
    // Long enough for several journals.
    for _ in 0..3000 {
        drop(Peer::greeted(Connection::open(&place.path), VECTORS));
    }
    server.signal(Signal::KILL);
    server.wait();
    manager.catch_up();
    server = manager.start(&args);
    assert!(server.is_running());
    for other in &others {
        for old in [&mut first, &mut second] {
            old.wait_for(other.id);
            old.check_rings(other);
        }
    }
    let last = Peer::greeted(Connection::open(&place.path), VECTORS);
    for old in [&mut first, &mut second] {
        old.wait_for(last.id);
    }
}

/// What the manager went on to keep would be of no use for the next server, which could not begin with it, and
/// clients that are dropped would not notice.
#[test]
fn nothing_is_kept_without_a_journal() {
    let place = Place::new();
    let notify = place.directory.path().join("notify");
    // A journal that cannot grow, which is an error and no signal.
    let manager = Manager::new(&notify).prepared("trap '' XFSZ; ulimit -f 64");
    let args = ["--fd-store", "--vectors=2", "--size=4K", &place.socket];
    let server = manager.start(&args);
    let (mut first, second) = couple(&place);
    test_limit::wait_until("the journal is full", || {
        drop(Peer::greeted(Connection::open(&place.path), VECTORS));
        !manager.names().iter().any(|name| name == "journal")
    });
    drop(second);
    while first.news() != News::Left(1) {}
    server.signal(Signal::KILL);
    server.wait();
    manager.catch_up();
    assert_eq!(manager.names(), [""; 0]);
    drop(first);
    let _next = manager.start(&args);
    assert_eq!(Peer::join(&place.path, VECTORS).id, 0);
}

/// It has more to do than to keep those for a moment who are refused.
#[test]
fn manager_does_not_hear_of_those_who_are_refused() {
    let place = Place::new();
    let manager = Manager::new(&place.directory.path().join("notify"));
    let args = ["--fd-store", "--vectors=2", "--max-peers=1", &place.socket];
    let _server = manager.start(&args);
    let _only = Peer::join(&place.path, VECTORS);
    let before = manager.stores();
    for _ in 0..10 {
        let refused = Connection::open(&place.path);
        assert!(matches!(refused.receive(), Some((-1, None))));
    }
    assert_eq!(manager.stores(), before);
}

#[test]
fn nobody_is_let_in_who_cannot_be_kept() {
    let place = Place::new();
    let notify = place.directory.path().join("notify");
    let manager = Manager::with_room(&notify, 4 + 2 * 3, true);
    let _server = manager.start(&["--fd-store", "--vectors=2", &place.socket]);
    let (_first, second) = couple(&place);
    let refused = || matches!(Connection::open(&place.path).receive(), Some((-1, None)));
    assert!(refused() && refused());
    drop(second);
    while refused() {}
}

/// As much room as the help of --fd-store asks for.
#[test]
fn room_is_needed_for_the_vectors_of_who_comes() {
    const MANY: usize = 20;
    let place = Place::new();
    let config = place.directory.path().join("config.toml");
    let fixed = place.directory.path().join("fixed");
    let text = format!(
        "[[region]]\nname = 'r'\nsocket-path = {:?}\nvectors = {VECTORS}\nmax-peers = 2\n\
         [[region.peer]]\nname = 'vm'\nid = 5\nsocket-path = {fixed:?}\nvectors = {MANY}\n",
        place.path
    );
    std::fs::write(&config, text).unwrap();
    let room = (VECTORS + 2) + (MANY + 2 + 1) + 10;
    let manager = Manager::with_room(&place.directory.path().join("notify"), room, true);
    let _server = manager.start(&["--fd-store", "--config", config.to_str().unwrap()]);
    let let_in = |path| {
        let connection = Connection::open(path);
        assert!(matches!(connection.receive(), Some((0, None))));
        connection
    };
    let many = let_in(&fixed);
    let _few = let_in(&place.path);
    drop(many);
    // Its eventfds have been kept.
    let_in(&fixed);
}

#[test]
fn vectors_do_not_change_by_taking_over() {
    let place = Place::new();
    let hand_over = place.file("hand-over");
    let mut old = Running::start(&place.path, &["--vectors=2", "--hand-over", &hand_over]);
    let (mut first, mut second) = couple(&place);
    let failed = Command::new(PROGRAM)
        .args([&place.socket, "--vectors=4", "--take-over", &hand_over])
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let text = String::from_utf8(failed.stderr).unwrap();
    assert!(text.contains("have 2 vectors and cannot get 4"), "{text}");
    assert!(old.is_running());
    check_all(&place, &mut first, &mut second);
}

#[test]
fn store_needs_a_manager() {
    let output = Command::new(PROGRAM)
        .args(["--fd-store", "--socket-path=x"])
        .env_remove("NOTIFY_SOCKET")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("needs a service manager"), "{text}");
}
