// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Machines that the program starts. A shell takes the place of QEMU: what it is told is its first argument.

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
