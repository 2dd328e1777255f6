// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the server tells of itself.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::process::{kill_process, Pid, Signal};
use serde_json::Value;

use crate::client::{Connection, Peer};
use crate::server::{Running, PROGRAM};

pub fn read(path: &str) -> Value {
    let mut text = String::new();
    let mut socket = UnixStream::connect(path).unwrap();
    socket.read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn signal_makes_a_report() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut child = Command::new(PROGRAM)
        .args(["--log-level=info", "--vectors=2", "--socket-path"])
        .arg(&path)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut wait_for = |text: &str| {
        let found = lines.find(|line| line.as_ref().unwrap().contains(text));
        found.expect("the log ended").unwrap()
    };
    wait_for("listening");
    let _peer = Peer::join(&path, 2);
    kill_process(Pid::from_child(&child), Signal::USR1).unwrap();
    wait_for("67108864 bytes of memfd, 2 vectors, 1 of 64 peers");
    let line = wait_for("  0 by ivshmem: 2 vectors");
    assert!(
        line.contains(&format!("pid {}", std::process::id())),
        "{line}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

/// An operator must be able to tell a wrong list from too few places.
#[test]
fn refusals_are_counted_by_reason() {
    let directory = tempfile::tempdir().unwrap();
    let (path, status) = (
        directory.path().join("socket"),
        directory.path().join("status"),
    );
    let refused = |options: &[&str], joins: usize| {
        let status_socket = format!("--status-socket={}", status.display());
        let _server = Running::start_limited(&path, &[options, &[&status_socket]].concat());
        let clients: Vec<_> = (0..joins + 1).map(|_| Connection::open(&path)).collect();
        assert!(matches!(clients[joins].receive(), Some((-1, None))));
        read(status.to_str().unwrap())["regions"][0]["counters"].clone()
    };
    let nobody = format!("--allow-uid={}", rustix::process::geteuid().as_raw() + 1);
    for (options, joins, reason) in [
        (&["--max-peers=1"][..], 1, "places"),
        (&["--max-peers-per-user=2"], 2, "user_places"),
        (&[nobody.as_str()], 0, "access"),
    ] {
        let counters = refused(options, joins);
        assert_eq!(counters["refused"], 1, "{counters}");
        assert_eq!(counters["refusals"][reason], 1, "{counters}");
    }
}
