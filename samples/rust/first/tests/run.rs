// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The first program, as two processes on the real server.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use vmbench::Region;

const PROGRAM: &str = env!("CARGO_BIN_EXE_first-program");

#[test]
fn the_one_who_waits_sees_what_the_other_wrote() {
    let region = Region::start(4 << 20, 1).unwrap();
    let command = || {
        let mut command = Command::new(PROGRAM);
        command.arg(region.socket());
        command
    };
    let mut waiting = command().stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(waiting.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let peer = first.strip_prefix("peer ").unwrap();
    let wrote = command().arg(peer).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&wrote.stdout), "1\n", "{wrote:?}");
    assert_eq!(lines.next().unwrap().unwrap(), "1");
    assert!(waiting.wait().unwrap().success());
}
