// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The command lines that `launch` prints, given to the real programs.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{path_in, run, server, stderr, stdout};

/// The words of a line, which are for a shell.
fn words(line: &str) -> Vec<String> {
    shlex::split(line).unwrap()
}

/// Starts QEMU with the words that were printed, has it quit, and expects that it found nothing wrong.
fn start_and_quit(words: &[String]) {
    let enter = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../sandbox/enter");
    let mut qemu = Command::new(enter)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    qemu.stdin.take().unwrap().write_all(b"quit\n").unwrap();
    let output = qemu.wait_with_output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", stderr(&output));
}

const QUIET: [&str; 6] = ["-nodefaults", "-display", "none", "-S", "-monitor", "stdio"];

#[test]
fn launch_lines_start_qemu() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "a,b");
    let launch = [
        "launch",
        "--dry-run",
        "--vms=2",
        "--ram=64M",
        "--size=1M",
        "--vectors=3",
        "--socket",
        &socket,
        "--",
    ];
    let text = stdout(&run(
        &[&launch[..], &QUIET, &["-name", "again{vm}"]].concat()
    ));
    let lines: Vec<_> = text.lines().map(words).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[0][0], "ivshmem-server");
    let arguments: Vec<_> = lines[0][1..].iter().map(String::as_str).collect();
    let _server = server(&arguments);
    for (number, line) in lines[1..].iter().enumerate() {
        assert_eq!(*line.last().unwrap(), format!("again{number}"));
        start_and_quit(line);
    }
}

#[test]
fn plain_launch_lines_start_qemu_without_a_server() {
    let directory = tempfile::tempdir().unwrap();
    let file = path_in(directory.path(), "memory");
    let launch = [
        "--json",
        "launch",
        "--dry-run",
        "--plain",
        "--ram=64M",
        "--size=1M",
        "--memory-file",
        &file,
        "--",
    ];
    let plan: Value = serde_json::from_str(&stdout(&run(&[&launch[..], &QUIET].concat()))).unwrap();
    assert_eq!(plan["server"], Value::Null);
    assert_eq!(plan["machines"].as_array().map(Vec::len), Some(2));
    let line: Vec<String> = serde_json::from_value(plan["machines"][0].clone()).unwrap();
    start_and_quit(&line);
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 1 << 20);
}
