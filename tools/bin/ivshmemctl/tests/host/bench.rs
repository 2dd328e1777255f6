// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `bench` between two processes of the host.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

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
