// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `bench` between two processes of the host.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use ivshmem::Memory;
use ivshmem_peer::Peer;
use serde_json::Value;
use test_limit::wait_until;

use crate::server::{path_in, server, Server};
use crate::{answer_of, first_other, run, stderr, PROGRAM};

#[test]
fn a_host_measures_all_but_what_takes_a_device() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=2"]);
    let serve = Command::new(PROGRAM)
        .args(["--json", "bench", "--serve", "--join", &socket])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut serve = Server(serve);
    let mut told = String::new();
    let told_by = serve.0.stdout.as_mut().unwrap();
    BufReader::new(told_by).read_line(&mut told).unwrap();
    let other = first_other(&socket, 2);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["event"], "serving");
    assert_eq!(told["peer_id"].to_string(), other);
    let answer = answer_of(&run(&[
        "--json", "bench", "--join", &socket, &other, "--time", "1ms",
    ]));
    assert_eq!(answer["size"], 1 << 20, "{answer}");
    let rows = answer["rows"].as_array().unwrap();
    let unmeasured = rows.iter().filter(|row| row["value"].is_null());
    let unmeasured: Vec<_> = unmeasured.map(|row| &row["what"]).collect();
    // What a process of the host has not: the device's file, and that as sysfs has it.
    assert_eq!(
        unmeasured,
        [
            "the same by sysfs resource2",
            "the same by sysfs resource2",
            "read",
            "poll and read",
            "event page, spinning"
        ],
        "{answer}"
    );
    for what in ["shared memory", "WAIT_WORD", "channel"] {
        assert!(rows.iter().any(|row| row["what"] == what), "{answer}");
    }
    let alone = run(&["bench", "--join", &socket]);
    assert_eq!(alone.status.code(), Some(2), "{}", stderr(&alone));
}

/// Commands: messages, and words whose change is waited for.
const KINDS: [u32; 2] = [5, 1];

#[test]
fn whoever_serves_is_there_for_others_when_one_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=2"]);
    let serve = ["bench", "--serve", "--join", &socket];
    let _serve = Server(Command::new(PROGRAM).args(serve).spawn().unwrap());
    let other = first_other(&socket, 2);
    let bench = ["--json", "bench", "--join", &socket, &other, "--time"];
    let link = Peer::join(&socket).unwrap();
    // 512 KiB, which end 4 KiB before the end, begin with the command.
    let command = link.size() - (516 << 10);
    for kind in KINDS {
        let mut killed = Command::new(PROGRAM);
        let killed = killed.args(bench).arg("200ms").stdout(Stdio::null());
        let mut killed = Server(killed.spawn().unwrap());
        wait_until("it measures that", || {
            assert_eq!(killed.0.try_wait().unwrap(), None);
            link.load32(command, Ordering::Acquire).unwrap() & 0xff == kind
        });
        drop(killed);
        answer_of(&run(&[&bench[..], &["1ms"]].concat()));
    }
}
