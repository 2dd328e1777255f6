// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What an operator can have done.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::thread::{set_thread_uid, Uid};
use serde_json::Value;

use crate::client::{Connection, News, Peer};
use crate::manager::Manager;
use crate::server::Running;

const VECTORS: usize = 2;

/// Gives a command, and returns the answer.
fn tell(control: &Path, command: &str) -> Value {
    let mut socket = UnixStream::connect(control).unwrap();
    // It may have refused already.
    let _ = socket.write_all(command.as_bytes());
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

fn drain(control: &Path) {
    let answer = tell(control, "{\"command\":\"drain\",\"region\":\"ivshmem\"}\n");
    assert_eq!(answer["ok"], true, "{answer}");
}

fn is_refused(socket: &Path) -> bool {
    matches!(Connection::open(socket).receive(), Some((-1, None)))
}

/// Where clients and operators connect to, and the options that say so.
fn sockets(directory: &Path) -> (PathBuf, PathBuf, String) {
    let control = directory.join("control");
    let option = format!("--control-socket={}", control.display());
    (directory.join("socket"), control, option)
}

#[test]
fn drained_region_keeps_who_is_there_and_lets_nobody_in() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, control, option) = sockets(directory.path());
    let _server = Running::start(&socket, &["--vectors=2", &option]);
    let first = Peer::join(&socket, VECTORS);
    let mut second = Peer::join(&socket, VECTORS);
    drain(&control);
    assert!(is_refused(&socket));
    second.check_rings(&first);
    drop(first);
    assert_eq!(second.news(), News::Left(0));
    let answer = tell(&control, "{\"command\":\"admit\",\"region\":\"ivshmem\"}\n");
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(Peer::join(&socket, VECTORS).id, 2);
}

#[test]
fn dropped_client_is_closed_and_the_others_hear_that_it_left() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, control, option) = sockets(directory.path());
    let _server = Running::start(&socket, &["--vectors=2", &option]);
    let mut first = Peer::join(&socket, VECTORS);
    let mut second = Peer::join(&socket, VECTORS);
    first.wait_for(1);
    let drop = "{\"command\":\"drop\",\"region\":\"ivshmem\",\"peer\":0}\n";
    assert_eq!(tell(&control, drop)["ok"], true);
    assert_eq!(second.news(), News::Left(0));
    assert!(first.connection.receive().is_none());
    let answer = tell(&control, drop);
    assert_eq!(answer["error"], "ivshmem: there is no peer 0");
}

#[test]
fn what_is_no_command_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, control, option) = sockets(directory.path());
    let _server = Running::start(&socket, &["--vectors=2", &option]);
    for command in [
        "\n",
        "drain\n",
        "{}\n",
        "{\"command\":\"stop\"}\n",
        "{\"command\":\"drain\",\"region\":\"none\"}\n",
        "{\"command\":\"drop\",\"region\":\"ivshmem\",\"peer\":70000}\n",
        &"x".repeat(5000),
    ] {
        let answer = tell(&control, command);
        assert!(answer["error"].is_string(), "{command}: {answer}");
    }
    // Those who say nothing, or only half of it, keep nobody away.
    let _silent: Vec<_> = (0..20)
        .map(|_| UnixStream::connect(&control).unwrap())
        .collect();
    drain(&control);
}

/// Whatever the mode of a socket that was passed in.
#[test]
fn other_users_are_not_obeyed() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can be another user");
    }
    let directory = tempfile::tempdir().unwrap();
    let (socket, control, _) = sockets(directory.path());
    let open = std::os::unix::fs::PermissionsExt::from_mode;
    std::fs::set_permissions(directory.path(), open(0o777)).unwrap();
    let manager = Manager::new(&directory.path().join("notify"));
    manager.pass("control", UnixListener::bind(&control).unwrap());
    std::fs::set_permissions(&control, open(0o666)).unwrap();
    let path = format!("--socket-path={}", socket.display());
    let _server = manager.start(&["--vectors=2", &path]);
    let answer = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            // Of this thread only, which ends with it.
            set_thread_uid(Uid::from_raw(54321)).unwrap();
            tell(&control, "{\"command\":\"drain\",\"region\":\"ivshmem\"}\n")
        });
        other.join().unwrap()
    });
    assert_eq!(
        answer["error"],
        "only the user of the server and root can do this"
    );
    assert!(!is_refused(&socket));
    drain(&control);
    assert!(is_refused(&socket));
}

#[test]
fn drained_region_stays_so_for_the_next_server() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, control, option) = sockets(directory.path());
    let manager = Manager::new(&directory.path().join("notify"));
    let path = format!("--socket-path={}", socket.display());
    let options = ["--vectors=2", "--fd-store", &option, &path];
    let server = manager.start(&options);
    let _peer = Peer::join(&socket, VECTORS);
    drain(&control);
    drop(server);
    let _next = manager.start(&options);
    assert!(is_refused(&socket));
}
