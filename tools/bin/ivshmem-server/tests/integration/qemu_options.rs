// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Command lines that were written for QEMU's server, from public scripts: they work, or end at once with what
//! to change. Where a line names a file, it is another one here.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::fs::fstat;
use rustix::process::{kill_process, Pid, Signal};
use test_limit::wait_until;

use crate::client::Peer;
use crate::server::PROGRAM;

/// Runs a line to its end, as a script does that goes on with the next one.
fn run(line: &str) -> Output {
    Command::new(PROGRAM)
        .args(line.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The program in the background whose process ID is in a file, ended with the value.
struct Background(Pid);

impl Background {
    /// `line` gives the prompt back, and the server runs.
    fn start(line: &str, pidfile: &Path) -> Self {
        // What it writes goes nowhere: whoever collects that would wait for the server's end.
        let status = Command::new(PROGRAM)
            .args(line.split_whitespace())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{line}");
        let text = std::fs::read_to_string(pidfile).unwrap();
        Self(Pid::from_raw(text.trim().parse().unwrap()).unwrap())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::TERM);
    }
}

#[track_caller]
fn assert_refused(line: &str, code: i32, words: &str) {
    let output = run(line);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{line}: {text}");
    assert!(text.contains(words), "{line}: {text}");
}

/// `ivshmem-server -p pidfile -S path -m shm-name -l shm-size -n vectors`, in QEMU's manual, and scripts of
/// hvac-demo: "detaches itself, just run it".
#[test]
fn a_line_with_a_pidfile_goes_to_the_background() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().display();
    let (socket, pidfile) = (directory.path().join("s"), directory.path().join("s.pid"));
    let line = format!("-S {here}/s -p {here}/s.pid -m /dev/shm -l 4M -n 16");
    let server = Background::start(&line, &pidfile);
    let peer = Peer::join(&socket, 16);
    assert_eq!(fstat(&peer.memory).unwrap().st_size, 4 << 20);
    drop(server);
    wait_until("the server's end", || !pidfile.exists());
    assert!(!socket.exists());
}

#[test]
fn daemonize_does_the_same_and_lets_go_of_the_output() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().display();
    let pidfile = directory.path().join("pid");
    // `$(...)` of a shell waits until the last copy of the standard output is closed.
    let script = format!(
        "text=$({PROGRAM} -S {here}/s -p {here}/pid --daemonize 2>{here}/log) && [ -z \"$text\" ]"
    );
    let status = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(status.success());
    let pid: i32 = std::fs::read_to_string(&pidfile)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let server = Background(Pid::from_raw(pid).unwrap());
    let _peer = Peer::join(&directory.path().join("s"), 8);
    let log = std::fs::read_to_string(directory.path().join("log")).unwrap();
    assert!(log.contains("listening for"), "{log}");
    drop(server);
    wait_until("the server's end", || !pidfile.exists());
}

#[test]
fn what_fails_in_the_background_fails_in_the_foreground() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().display();
    let line = format!("-S {here}/missing/s -p {here}/pid");
    assert_refused(&line, 1, "create ");
    assert!(!directory.path().join("pid").exists());
    assert_refused(
        &format!("-S {here}/s --daemonize -F"),
        2,
        "cannot be used with",
    );
}

/// Chimera's scripts start a second one now and then, and hvac-demo's when a run before was not cleaned up.
#[test]
fn a_second_server_in_the_background_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().display();
    let line = format!("-S {here}/s -p {here}/pid -n 2");
    let _server = Background::start(&line, &directory.path().join("pid"));
    assert_refused(&line, 1, "another server uses");
}

/// `sudo ivshmem-server`, `-n 2` (Zephyr), `-F -v -l 1M -n 1`, `-Fv -m /dev/hugepages -l 1G`.
#[test]
fn a_line_without_a_socket_names_that_of_qemus_server() {
    let name = "--socket-path=/tmp/ivshmem_socket --memory=shm:ivshmem";
    for line in [
        "",
        "-n 2",
        "-F",
        "-F -v -l 1M -n 1",
        "-Fv -m /dev/hugepages -l 1G",
        "-p pid -n 4 -m /dev -l 16M",
    ] {
        assert_refused(line, 2, name);
    }
}

/// WormHole's test script: `-l 2048000 -n 1`, which QEMU's server rounds up.
#[test]
fn a_size_that_is_no_power_of_two_is_answered_with_one() {
    assert_refused("-S s -l 2048000 -n 1", 2, "take 2M");
}

/// Node Replicated Kernel: `-F -S NAME -l 512M -n 2 -M FILE`; Zephyr: `-F -S ... -M ivshmem -l 4096 -n 2`.
#[test]
fn memory_of_an_earlier_server_is_used_when_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().display();
    let (socket, pidfile) = (directory.path().join("s"), directory.path().join("pid"));
    let name = format!("ivshmem-test-{}", std::process::id());
    let memory = Path::new("/dev/shm").join(&name);
    std::fs::write(&memory, vec![0; 4096]).unwrap();
    let line = format!("-S {here}/s -p {here}/pid -M {name} -l 4096 -n 2");
    assert_refused(&line, 1, "or use it by --keep-memory");
    let server = Background::start(&format!("{line} --keep-memory"), &pidfile);
    let _peer = Peer::join(&socket, 2);
    drop(server);
    wait_until("the server's end", || !pidfile.exists());
    std::fs::remove_file(&memory).unwrap();
}

/// The others that stay in the foreground say so, for a script that waits for their end.
#[test]
fn a_line_without_either_says_that_it_stays() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().display();
    let log = directory.path().join("log");
    let said = |args: &str| {
        let mut server = Command::new(PROGRAM)
            .args(format!("-S {here}/s -m /dev/shm/ -l 2M {args}").split_whitespace())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let text = || std::fs::read_to_string(&log).unwrap();
        wait_until("the server", || text().contains("listening for"));
        let _peer = Peer::join(&directory.path().join("s"), 8);
        kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
        assert!(server.wait().unwrap().success());
        text().contains("staying in the foreground; --daemonize goes to the background")
    };
    assert!(said(""));
    assert!(!said("-F"));
}
