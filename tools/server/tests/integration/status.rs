// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the server tells of itself.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::process::{kill_process, Pid, Signal};
use serde_json::Value;

use crate::client::{Connection, Peer};
use crate::server::{Running, PROGRAM};

fn read(path: &str) -> Value {
    let mut text = String::new();
    let mut socket = UnixStream::connect(path).unwrap();
    socket.read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn everybody_who_connects_gets_a_report() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let status = directory.path().join("status").display().to_string();
    let args = ["--vectors=2", "--max-peers=3", "--status-socket", &status];
    let _server = Running::start(&path, &args);
    // Those who do not read keep nobody away.
    let idle: Vec<_> = (0..30)
        .map(|_| UnixStream::connect(&status).unwrap())
        .collect();
    let peers: Vec<_> = (0..3).map(|_| Peer::join(&path, 2)).collect();
    let refused = Connection::open(&path);
    assert!(matches!(refused.receive(), Some((-1, None))));
    let report = read(&status);
    assert_eq!(report["type"], "ivshmem-server");
    assert_eq!(report["successor"], false);
    let region = &report["regions"][0];
    assert_eq!(region["name"], "ivshmem");
    assert_eq!(region["size"], 4 << 20);
    assert_eq!(region["memory"], "memfd");
    assert_eq!(region["counters"]["joined"], 3);
    assert_eq!(region["counters"]["refused"], 1);
    let found = region["peers"].as_array().unwrap();
    assert_eq!(found.len(), peers.len());
    for (peer, found) in peers.iter().zip(found) {
        assert_eq!(found["id"], peer.id);
        assert_eq!(found["pid"], std::process::id());
        assert_eq!(found["vectors"], 2);
        assert_eq!(found["door"], "ivshmem");
    }
    drop(idle);
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
    wait_for("4194304 bytes of memfd, 2 vectors, 1 of 64 peers");
    let line = wait_for("  0 by ivshmem: 2 vectors");
    assert!(
        line.contains(&format!("pid {}", std::process::id())),
        "{line}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}
