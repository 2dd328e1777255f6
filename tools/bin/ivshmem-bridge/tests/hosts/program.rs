// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the program prints, and what it tells a service manager.

use std::os::unix::net::UnixDatagram;
use std::process::Command;

use test_limit::limit;

use super::end::End;
use super::host::Host;
use super::{path_in, PROGRAM};

const TO_ZENOH: &str = "topic = [{ key = \"talk\", kind = \"messages\", to-zenoh = 0 }]";

fn print(arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).args(arguments).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_manual_and_completions_are_printed() {
    let manual = print(&["--print-man-page"]);
    for text in [".TH ivshmem", "CONFIGURATION FILE", "zenoh\\-config"] {
        assert!(manual.contains(text), "{text}");
    }
    assert!(print(&["--print-completions", "bash"]).contains("--zenoh-config"));
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let host = Host::new(&[]);
    let _program = host.program();
    let mut bridge = host.bridge(TO_ZENOH);
    // Its files are there now.
    bridge.expect("joined");
    bridge.end();
    let config = path_in(host.machines.directory.path(), "bridge.toml");
    let mut full = Command::new("sh");
    full.args(["-c", "exec \"$@\" 2>/dev/full", "sh", PROGRAM]);
    let mut bridge = End::of(full, &format!("--stats 1 --config {config}"));
    while !bridge.expect("status")["channels"][0]["away"].is_null() {}
    bridge.end();
}

#[test]
fn the_service_manager_is_told_and_status_is_printed_by_itself() {
    let host = Host::new(&[]);
    let _program = host.program();
    let mut bridge = host.bridge(TO_ZENOH);
    // Its files are there now.
    bridge.expect("joined");
    bridge.end();
    let directory = host.machines.directory.path();
    let notify = UnixDatagram::bind(directory.join("notify")).unwrap();
    notify.set_read_timeout(Some(limit())).unwrap();
    let mut bridge = Command::new(PROGRAM);
    bridge.args([
        "--stats",
        "1",
        "--config",
        &path_in(directory, "bridge.toml"),
    ]);
    bridge.env("NOTIFY_SOCKET", directory.join("notify"));
    bridge.stdout(std::process::Stdio::piped());
    let mut bridge = super::Server(bridge.spawn().unwrap());
    let hear = || {
        let mut text = [0; 64];
        let len = notify.recv(&mut text).unwrap();
        String::from_utf8(text[..len].to_vec()).unwrap()
    };
    assert_eq!(hear().trim(), "READY=1");
    let mut lines = String::new();
    let mut stdout = std::io::BufReader::new(bridge.0.stdout.take().unwrap());
    while !lines.contains("area topics\n  0 > talk: 0 sent, 0 bytes\n") {
        assert_ne!(
            std::io::BufRead::read_line(&mut stdout, &mut lines).unwrap(),
            0
        );
    }
    let pid = rustix::process::Pid::from_child(&bridge.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(hear().trim(), "STOPPING=1");
    assert!(bridge.0.wait().unwrap().success());
}
