// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `launch`, with the real programs: the command lines that it prints, and what it starts.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{kill_process, kill_process_group, Pid, Signal};
use serde_json::Value;
use test_limit::wait_until;
use vmbench::build::static_binary;

use super::terminal::OnTerminal;
use super::{answer_of, path_in, run, server, stderr, stdout, PROGRAM};

/// The words of a line, which are for a shell.
fn words(line: &str) -> Vec<String> {
    shlex::split(line).unwrap()
}

/// Starts QEMU with the words that were printed, has it quit, and expects that it found nothing wrong.
fn start_and_quit(words: &[String]) {
    let enter = vmbench::checkout().join("tools/scripts/sandbox/enter");
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
    let titles: Vec<_> = text.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(titles, ["# the server", "# vm0", "# vm1"], "{text}");
    assert!(text.contains("--size 1M"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let lines: Vec<_> = lines.map(words).collect();
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
    assert_eq!(plan["guests"].as_array().map(Vec::len), Some(2));
    let line: Vec<String> = serde_json::from_value(plan["guests"][0].clone()).unwrap();
    start_and_quit(&line);
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 1 << 20);
}

/// A running `launch`, which is told to end when this is dropped, and ends its guests.
struct Launched(Child);

impl Drop for Launched {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = kill_process(Pid::from_child(&self.0), Signal::INT);
            let _ = self.0.wait();
        }
    }
}

/// A program that starts the sandbox's QEMU.
fn qemu_in(directory: &Path) -> String {
    let qemu = path_in(directory, "qemu");
    let enter = vmbench::checkout().join("tools/scripts/sandbox/enter");
    let script = format!(
        "#!/bin/sh\nexec {} qemu-system-x86_64 \"$@\"\n",
        enter.display()
    );
    std::fs::write(&qemu, script).unwrap();
    std::fs::set_permissions(&qemu, Permissions::from_mode(0o755)).unwrap();
    qemu
}

#[test]
fn launched_guests_share_memory_until_a_signal_ends_all() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let qemu = qemu_in(directory.path());
    let server = static_binary("ivshmem-server", "ivshmem-server").unwrap();
    let mut launch = Command::new(PROGRAM);
    let launch = launch.args(["launch", "--vms=2", "--ram=64M", "--size=1M", "--vectors=3"]);
    let launch = launch.args(["--socket", &socket, "--qemu", &qemu, "--server"]);
    let launch = launch
        .arg(server)
        .args(["--", "-nodefaults", "-display", "none", "-S"]);
    let launch = launch.stdout(Stdio::piped()).process_group(0);
    let mut launch = Launched(launch.spawn().unwrap());
    let lines = BufReader::new(launch.0.stdout.take().unwrap()).lines();
    let lines: Vec<_> = lines.take(2).map(Result::unwrap).collect();
    assert!(lines[0].starts_with("vm0: process ") && lines[1].starts_with("vm1: process "));
    let mut looks = BTreeSet::new();
    loop {
        let report = answer_of(&run(&["--json", "peers", &socket]));
        looks.extend(report["peer_id"].as_u64());
        let others = report["others"].as_array().unwrap();
        let others: BTreeSet<_> = others
            .iter()
            .filter_map(|o| o["peer_id"].as_u64())
            .collect();
        if others.difference(&looks).count() == 2 {
            // IDs are given out in order: to each look and to each guest. `launch` itself took none.
            let ids: Vec<u64> = others.union(&looks).copied().collect();
            assert_eq!(ids, (0..ids.len() as u64).collect::<Vec<_>>());
            break;
        }
        assert!(launch.0.try_wait().unwrap().is_none(), "it has ended");
    }
    // As a terminal does at Ctrl-C: to the whole group, and so to the server and guests if they are in it.
    kill_process_group(Pid::from_child(&launch.0), Signal::INT).unwrap();
    assert!(launch.0.wait().unwrap().success());
    assert_eq!(
        run(&["peers", &socket]).status.code(),
        Some(3),
        "the server is gone"
    );
}

#[test]
fn consoles_show_what_guests_say_until_the_user_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let memory = path_in(directory.path(), "memory");
    let qemu = qemu_in(directory.path());
    let mut launch = Command::new(PROGRAM);
    let launch = launch.args(["launch", "--vms=2", "--ram=64M", "--console", "--plain"]);
    let launch = launch.args(["--size=1M", "--memory-file", &memory]);
    let launch = launch.args(["--socket", &socket, "--qemu", &qemu, "--"]);
    // With nothing to boot, the firmware says so on the serial line, again and again.
    let launch = launch.args(["-nodefaults", "-machine", "graphics=off"]);
    let launch = launch.args(["-boot", "reboot-timeout=100"]);
    let mut launch = Launched(launch.stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(launch.0.stdout.take().unwrap()).lines();
    for (number, line) in lines.take(2).map(Result::unwrap).enumerate() {
        let console = format!("{socket}.vm{number}");
        assert!(
            line.ends_with(&format!("; ivshmemctl console {console}")),
            "{line}"
        );
        let mut terminal = OnTerminal::start(&["console", &console], (24, 80));
        terminal.read_until("Connected. Ctrl-] leaves.");
        terminal.read_until("No bootable device");
        terminal.type_keys(b"\x1d");
        terminal.output();
    }
    let first = format!("{socket}.vm0");
    let mut looks_on = Command::new(PROGRAM)
        .args(["console", &first])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(looks_on.stdout.take().unwrap());
    let mut line = Vec::new();
    said.read_until(b'\n', &mut line).unwrap();
    drop(launch); // ends the guests
    assert!(looks_on.wait().unwrap().success());
    let absent = run(&["console", &first]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(stderr(&absent).contains("is the guest running"));
}

/// A program in the place of QEMU, and where each that runs leaves a line.
fn sleeper_in(directory: &Path) -> (String, String) {
    let [program, file] = ["sleeper", "started"].map(|name| path_in(directory, name));
    let script = format!("#!/bin/sh\necho started >>{file}\nexec sleep 1h\n");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    (program, file)
}

#[test]
fn guests_go_on_when_nobody_reads_what_is_told_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let (program, file) = sleeper_in(directory.path());
    let memory = path_in(directory.path(), "memory");
    let (closed, _) = UnixStream::pair().unwrap();
    let mut launch = Command::new(PROGRAM);
    let launch = launch.args(["launch", "--vms=2", "--plain", "--qemu", &program]);
    let launch = launch.args(["--memory-file", &memory]);
    let launch = launch.stdout(OwnedFd::from(closed));
    let mut launch = Launched(launch.spawn().unwrap());
    wait_until("both are started", || {
        assert_eq!(launch.0.try_wait().unwrap(), None);
        std::fs::read_to_string(&file).is_ok_and(|text| text.lines().count() == 2)
    });
    kill_process(Pid::from_child(&launch.0), Signal::TERM).unwrap();
    assert!(launch.0.wait().unwrap().success());
}

/// A socket at which whoever connects is heard by nobody.
fn deaf_console(directory: &Path) -> (UnixListener, String) {
    let socket = path_in(directory, "console");
    (UnixListener::bind(&socket).unwrap(), socket)
}

#[test]
fn a_console_that_takes_nothing_can_be_left() {
    let directory = tempfile::tempdir().unwrap();
    let (_listener, socket) = deaf_console(directory.path());
    let mut console = Command::new(PROGRAM);
    let console = console.args(["console", &socket]).stdin(Stdio::piped());
    let mut console = console.spawn().unwrap();
    let stdin = console.stdin.take().unwrap();
    rustix::io::ioctl_fionbio(&stdin, true).unwrap();
    // Until nothing goes on: the socket is full, and then the pipe.
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_secs(1) {
        match (&stdin).write(&[b'x'; 4096]) {
            Ok(length) if length > 0 => last = Instant::now(),
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    kill_process(Pid::from_child(&console), Signal::TERM).unwrap();
    let mut ended = None;
    wait_until("it ends", || {
        ended = console.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success());
}

#[test]
fn a_console_goes_on_without_a_standard_error() {
    let directory = tempfile::tempdir().unwrap();
    let (listener, socket) = deaf_console(directory.path());
    let script = "exec \"$0\" console \"$1\" 2>/dev/full";
    let shell = ["-c", script, PROGRAM, &socket];
    let mut terminal = OnTerminal::of("sh", &shell, (24, 80));
    let (mut guest, _) = listener.accept().unwrap();
    guest.write_all(b"login:").unwrap();
    terminal.read_until("login:");
    terminal.type_keys(b"\x1d");
    terminal.output();
}

#[test]
fn launch_ends_when_a_guest_cannot_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = path_in(directory.path(), "memory");
    let launch = [
        "launch",
        "--plain",
        "--size=1M",
        "--memory-file",
        &file,
        "--qemu",
    ];
    let absent = run(&[&launch[..], &["/nonexistent"]].concat());
    assert_eq!(absent.status.code(), Some(1));
    assert!(stderr(&absent).contains("--qemu"));
    let failed = run(&[&launch[..], &["false"]].concat());
    assert_eq!(failed.status.code(), Some(1));
    assert!(stderr(&failed).contains("vm0 has ended with exit status: 1"));
}
