// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Machines that the program starts. A shell takes the place of QEMU: what it is told is its first argument.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use tempfile::TempDir;

use crate::{program, text};

/// A guest's console need not have lines.
#[test]
fn a_line_without_end_is_shown_in_parts() {
    let shm = TempDir::new().unwrap();
    let args = ["--launch", "--vm", "1", "-s", "6,ivshmem,dm:/t,2"];
    let mut command = program(&args);
    command.args(["--shm-dir", text(shm.path()), "--qemu", "sh -c", "--"]);
    let output = command
        .arg("head -c 300000 /dev/zero | tr '\\0' x")
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    assert_eq!(text.matches('x').count(), 300_000);
    let longest = text.lines().map(str::len).max().unwrap();
    assert!(longest < 70_000, "{longest}");
}

#[test]
fn launched_machines_speak_with_their_names_and_decide_the_exit_code() {
    let shm = TempDir::new().unwrap();
    let launch = |script: &str| {
        let args = [
            "--launch",
            "--shm-dir",
            text(shm.path()),
            "--vm",
            "1",
            "-s",
            "6,ivshmem,dm:/t,2",
        ];
        let mut command = program(&args);
        command.args([
            "--vm",
            "2",
            "-s",
            "5,ivshmem,dm:/t,2",
            "--qemu",
            "sh -c",
            "--",
            script,
        ]);
        command.output().unwrap()
    };
    let good = launch("echo I am {vm}");
    assert_eq!(good.status.code(), Some(0));
    let text = String::from_utf8(good.stdout).unwrap();
    assert!(
        text.contains("[VM1] I am 1\n") && text.contains("[VM2] I am 2\n"),
        "{text}"
    );
    let bad = launch("exit {vm}");
    assert_eq!(bad.status.code(), Some(1));
    let errors = String::from_utf8(bad.stderr).unwrap();
    assert!(
        errors.contains("[VM2] QEMU ended with exit status: 2"),
        "{errors}"
    );
}

/// A machine that has ended is told of although others go on.
#[test]
fn the_end_of_a_machine_is_shown_when_it_comes() {
    let shm = TempDir::new().unwrap();
    let end = shm.path().join("end");
    let made = Command::new("mkfifo").arg(&end).status().unwrap();
    assert!(made.success());
    let slots = ["--vm", "1", "-s", "6,ivshmem,dm:/t,2"];
    let more = ["--vm", "2", "-s", "5,ivshmem,dm:/t,2"];
    let script = format!("test {{vm}} = 2 || read line < {}; exit {{vm}}", text(&end));
    let mut command = program(&["--launch", "--shm-dir", text(shm.path())]);
    command.args(slots).args(more);
    command.args(["--qemu", "sh -c", "--", &script]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let (tell, told) = mpsc::channel();
    let errors = BufReader::new(child.stderr.take().unwrap());
    let reader = thread::spawn(move || {
        for line in errors.lines() {
            let _ = tell.send(line.unwrap());
        }
    });
    let expected = Ok("[VM2] QEMU ended with exit status: 2".into());
    let found = told.recv_timeout(test_limit::limit());
    // Lets the first one end, whatever has been found.
    std::fs::write(&end, "now\n").unwrap();
    assert_eq!(found, expected);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    reader.join().unwrap();
    let rest: Vec<_> = told.try_iter().collect();
    assert_eq!(rest, ["[VM1] QEMU ended with exit status: 1"]);
}
