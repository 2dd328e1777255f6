// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The program `vmbench` as a user runs it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::process::{kill_process, pidfd_open, Pid, PidfdFlags, Signal};
use serde_json::Value;

fn vmbench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vmbench"))
}

#[test]
fn exit_codes_and_output_of_each_guest() {
    let logs = tempfile::tempdir().unwrap();
    let script = "[ $GUEST_ID = 1 ] || { echo $GUEST_ID of $GUESTS; exit 5; }
                  echo c >/proc/sysrq-trigger";
    let output = vmbench()
        .args(["--guests", "2", "--device", "none", "--json", "--keep-log"])
        .arg(logs.path())
        .args(["--", "sh", "-c", script])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["exit_code"], 5);
    assert_eq!(report["guests"][0]["stdout"], "0 of 2\n");
    assert_eq!(report["guests"][0]["kernel_reports"], Value::Array(vec![]));
    assert_eq!(report["guests"][1]["exit_code"], 125);
    let error = report["guests"][1]["error"].as_str().unwrap();
    assert!(error.contains("guest vm1: Kernel panic"), "{error}");
    let log = fs::read_to_string(logs.path().join("vm1.log")).unwrap();
    assert!(log.contains("sysrq triggered crash"), "{log}");
    assert!(logs.path().join("vm0.log").exists());
}

#[test]
fn set_up_errors_are_no_exit_code_of_a_command() {
    let output = vmbench()
        .args([
            "--device",
            "none",
            "--kernel",
            "/no/such/kernel",
            "--",
            "true",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(126));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("/no/such/kernel"), "{complaint}");
}

#[test]
fn an_interrupt_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut bench, children) = start(directory.path());
    assert_eq!(children.len(), 3, "two guests and a server");
    assert_eq!(entries(directory.path()), 1, "the server's directory");
    kill_process(Pid::from_child(&bench), Signal::INT).unwrap();
    let status = bench.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()));
    for (pid, _) in &children {
        assert!(
            !Path::new(&format!("/proc/{pid}")).exists(),
            "process {pid}"
        );
    }
    assert_eq!(entries(directory.path()), 0);
}

#[test]
fn a_killed_bench_takes_its_processes_along() {
    let directory = tempfile::tempdir().unwrap();
    let (mut bench, children) = start(directory.path());
    bench.kill().unwrap();
    bench.wait().unwrap();
    for (pid, pidfd) in &children {
        let limit = Timespec::try_from(test_limit::limit()).unwrap();
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&limit)), Ok(1), "process {pid} lives");
    }
}

/// Starts a bench with two guests and a server, and waits until the guests run a command that does not
/// end. Returns it with its child processes.
fn start(directory: &Path) -> (Child, Vec<(i32, OwnedFd)>) {
    let mut bench = vmbench()
        .args(["--guests", "2", "--time-limit", "1h", "--"])
        .args(["sh", "-c", "echo up; sleep 3600"])
        .env("TMPDIR", directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(bench.stdout.take().unwrap()).lines();
    let mut up: Vec<String> = lines.by_ref().take(2).map(Result::unwrap).collect();
    up.sort();
    assert_eq!(up, ["vm0: up", "vm1: up"]);
    let children = children_of(bench.id());
    (bench, children)
}

fn children_of(parent: u32) -> Vec<(i32, OwnedFd)> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{parent}/task")).unwrap() {
        let list = fs::read_to_string(task.unwrap().path().join("children")).unwrap();
        for pid in list.split_whitespace() {
            let pid = pid.parse().unwrap();
            let pidfd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
            children.push((pid, pidfd));
        }
    }
    children
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}
