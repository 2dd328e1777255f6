// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `peers` on a host, of a channel: with processes that join it by the real server.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{json, Value};
use test_limit::wait_until;

use super::end::Machines;
use super::{answer_of, run, stderr, stdout, Server, PROGRAM};

#[test]
fn peers_tells_who_has_joined_a_channel_and_who_was_killed() {
    let machines = Machines::new("1M");
    let peers = ["peers", "--join", &machines.socket, "--offset", "0"];
    let answer = || answer_of(&run(&[&["--json"], &peers[..]].concat()));
    let none = run(&peers);
    assert_eq!(none.status.code(), Some(1));
    let text = stderr(&none);
    assert!(
        text.contains("no channel at offset 0x0: start chat"),
        "{text}"
    );

    let mut talker = Server(
        Command::new(PROGRAM)
            .args(["--json", "chat", "--join", &machines.socket])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut told = BufReader::new(talker.0.stdout.take().unwrap());
    told.read_line(&mut String::new()).unwrap();
    let mut found = Value::Null;
    wait_until("the one who talks is seen to live", || {
        found = answer();
        found["members"][0]["state"] == "present"
    });
    let members = found["members"].as_array().unwrap();
    assert_eq!(members.len(), 1, "{found}");
    assert_eq!((&found["offset"], &found["slots"]), (&json!(0), &json!(2)));
    let talks = &members[0]["peer_id"];
    assert!(talks.is_u64() && *talks != found["peer_id"], "{found}");
    let row = format!("{}     {talks}     present", members[0]["slot"]);
    let text = stdout(&run(&peers));
    assert!(text.lines().any(|line| line == row), "{text}");

    // Killed, it does not leave.
    drop(talker);
    let mut lost = Value::Null;
    wait_until("the one who was killed is lost", || {
        lost = answer();
        lost["members"][0]["state"] == "lost"
    });
    assert_eq!(lost["members"][0]["peer_id"], Value::Null);
}

#[test]
fn peers_takes_one_socket_and_it_is_that_of_join() {
    let machines = Machines::new("1M");
    let [named, joined] = [
        &["peers", &machines.socket][..],
        &["peers", "--join", &machines.socket],
    ];
    assert_eq!(stdout(&run(named)), stdout(&run(joined)));
    let both = run(&["peers", "--join", "a", "b"]);
    assert_eq!(both.status.code(), Some(2), "{}", stderr(&both));
}
