// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A server that has given up what it has no use for: all that it does still works, and nothing else.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{kill_process, Pid, Signal};
use test_limit::wait_until;

use crate::client::{is_quiet, ring, wait_for_listener, Connection, News, Peer};
use crate::manager::Manager;
use crate::server::{Running, PROGRAM};
use crate::status::read;

const VECTORS: usize = 2;

fn region(name: &str, directory: &Path, rest: &str) -> String {
    let socket = directory.join(name);
    format!("[[region]]\nname = '{name}'\nsocket-path = {socket:?}\nvectors = 2\n{rest}\n")
}

/// Whether a process runs under a filter of system calls.
fn is_filtered(process: u32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    text.lines().any(|line| line == "Seccomp:\t2")
}

#[test]
fn goes_on_as_before_and_reaches_no_other_file() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let config = file("config.toml");
    let shm = format!("ivshmem-confine-{}", std::process::id());
    let first = format!(
        "status-socket = {:?}\ncontrol-socket = {:?}\n{}[[region.peer]]\nname = 'viewer'\nid = 1\n\
         read-only = true\nsocket-path = {:?}\n",
        file("status"),
        file("control"),
        region("first", directory.path(), &format!("memory = 'shm:{shm}'")),
        file("viewer")
    );
    std::fs::write(&config, &first).unwrap();
    let manager = Manager::new(&file("notify"));
    let options = [
        "--config",
        config.to_str().unwrap(),
        "--fd-store",
        "--confine",
    ];
    let server = manager.start(&options);
    assert!(is_filtered(server.id()));
    let guest = Peer::join(&file("first"), VECTORS);
    let viewer = Peer::join(&file("viewer"), VECTORS);
    viewer.check_rings(&guest);
    server.signal(Signal::USR1);
    let report = read(file("status").to_str().unwrap());
    assert_eq!(report["regions"][0]["peers"][1]["read_only"], true);
    // A region beside the others is served; one elsewhere is not, nor is its directory touched.
    let there = region("there", elsewhere.path(), "");
    let second = region(
        "second",
        directory.path(),
        "prealloc = true\nsocket-group = 'root'",
    );
    std::fs::write(&config, format!("{first}{there}{second}")).unwrap();
    server.signal(Signal::HUP);
    wait_for_listener(&file("second"));
    let other = Peer::join(&file("second"), VECTORS);
    assert_eq!(elsewhere.path().read_dir().unwrap().count(), 0);
    let mut control = UnixStream::connect(file("control")).unwrap();
    writeln!(
        control,
        "{{\"command\":\"drop\",\"region\":\"first\",\"peer\":0}}"
    )
    .unwrap();
    let mut answer = String::new();
    BufReader::new(control).read_line(&mut answer).unwrap();
    assert_eq!(answer, "{\"ok\":true}\n");
    // The next server begins with what is kept, and ends it all.
    std::fs::write(&config, format!("{first}{second}")).unwrap();
    server.signal(Signal::KILL);
    server.wait();
    manager.catch_up();
    let next = manager.start(&options);
    let last = Peer::greeted(Connection::open(&file("second")), VECTORS);
    last.check_rings(&other);
    assert!(is_filtered(next.id()));
    next.signal(Signal::TERM);
    assert!(next.wait().success());
    std::fs::remove_file(Path::new("/dev/shm").join(shm)).unwrap();
}

#[test]
fn hands_over_and_removes_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let memory = format!("--memory=path:{}", file("memory").display());
    let over = format!("--hand-over={}", file("over").display());
    let pid = format!("--pidfile={}", file("pid").display());
    let take = format!("--take-over={}", file("over").display());
    let options = ["--vectors=2", "--confine", "--prealloc", &memory, &over];
    let first = Running::start(&file("socket"), &options);
    let mut peer = Peer::join(&file("socket"), VECTORS);
    let second = Running::start(&file("socket"), &[&options[..], &[&take, &pid]].concat());
    assert!(first.wait().success());
    let late = Peer::join(&file("socket"), VECTORS);
    peer.wait_for(late.id);
    drop(late);
    assert_eq!(peer.news(), News::Left(1));
    second.signal(Signal::TERM);
    assert!(second.wait().success());
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}

#[test]
fn goes_to_the_background() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let status = Command::new(PROGRAM)
        .args(["--confine", "--daemonize", "--vectors=2"])
        .arg("--socket-path")
        .arg(file("socket"))
        .arg("--pidfile")
        .arg(file("pid"))
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let process = std::fs::read_to_string(file("pid")).unwrap();
    let process: u32 = process.trim().parse().unwrap();
    assert!(is_filtered(process));
    drop(Peer::join(&file("socket"), VECTORS));
    let process = Pid::from_raw(process.try_into().unwrap()).unwrap();
    kill_process(process, Signal::TERM).unwrap();
    wait_until("the server's end", || {
        directory.path().read_dir().unwrap().count() == 0
    });
}

#[test]
fn rings_for_one_who_left_are_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let peer = format!(
        "[[region.peer]]\nname = 'vm'\nid = 1\nsocket-path = {:?}\n",
        file("vm")
    );
    let config = file("config.toml");
    std::fs::write(&config, region("region", directory.path(), &peer)).unwrap();
    let manager = Manager::new(&file("notify"));
    let options = ["--config", config.to_str().unwrap(), "--confine"];
    let _server = manager.start(&options);
    let mut guest = Peer::join(&file("region"), VECTORS);
    drop(Peer::join(&file("vm"), VECTORS));
    guest.wait_for(1);
    ring(&guest.others[&1][0], 3);
    let back = loop {
        let connection = Connection::open(&file("vm"));
        // The server may not have seen yet that the one before left.
        if matches!(connection.receive(), Some((0, None))) {
            break Peer::welcomed(connection, VECTORS);
        }
    };
    assert!(back.own.iter().all(is_quiet));
}
