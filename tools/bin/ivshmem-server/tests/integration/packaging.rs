// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a distribution ships beside the program.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::client::Peer;
use crate::manager::Manager;
use crate::server::PROGRAM;
use crate::status::read;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../dist/server")
        .join(name)
}

fn print(option: &str) -> String {
    let output = Command::new(PROGRAM).arg(option).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a program that may have to be installed first.
#[track_caller]
fn run(command: &mut Command, input: &str) -> Output {
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = streams.stderr(Stdio::piped()).spawn();
    let program = command.get_program();
    let mut child = child.unwrap_or_else(|error| panic!("{program:?} is needed: {error}"));
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn assert_no_complaint(output: &Output) {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && complaint.is_empty(),
        "{complaint}"
    );
}

#[test]
fn units_are_right() {
    let directory = tempfile::tempdir().unwrap();
    for unit in [
        "ivshmem-server@.service",
        "ivshmem-server@.socket",
        "ivshmem-metrics@.service",
        "ivshmem-metrics@.timer",
        "../guest/ivshmem-tunnel@.service",
        "../bridge/ivshmem-bridge.service",
        "../../samples/systemd/ivshmem-program@.service",
    ] {
        let shipped = shipped(unit);
        let text = std::fs::read_to_string(&shipped).unwrap();
        // What is started has to be there.
        let text = text.replace("/usr/bin/ivshmem-server", PROGRAM);
        let text = text.replace("/usr/bin/ivshmemctl", PROGRAM);
        let text = text.replace("/usr/bin/ivshmem-bridge", PROGRAM);
        std::fs::write(directory.path().join(shipped.file_name().unwrap()), text).unwrap();
    }
    for unit in [
        "ivshmem-server@example.service",
        "ivshmem-tunnel@0.service",
        "ivshmem-bridge.service",
        "ivshmem-program@0.service",
        "ivshmem-metrics@example.timer",
        "ivshmem-metrics@example.service",
    ] {
        let unit = directory.path().join(unit);
        let verify = ["verify", "--man=no", unit.to_str().unwrap()];
        assert_no_complaint(&run(Command::new("systemd-analyze").args(verify), ""));
    }
    let users = shipped("ivshmem-server.sysusers");
    let mut command = Command::new("systemd-sysusers");
    // It says what it would do.
    let output = run(command.arg("--dry-run").arg(users), "");
    assert!(output.status.success(), "{output:?}");
}

/// As far as Debian's parser sees it.
#[test]
fn apparmor_profile_compiles() {
    let sandbox = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/sandbox");
    let fetch = |args: &[&str]| {
        let output = run(Command::new(sandbox.join("apparmor")).args(args), "");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    fetch(&[]);
    let place = String::from_utf8(fetch(&["--where"])).unwrap();
    let place = Path::new(place.trim());
    let compile = |profile: &Path| {
        let mut parser = Command::new(sandbox.join("enter"));
        parser
            .arg(place.join("apparmor_parser"))
            .args(["--skip-kernel-load", "--skip-cache", "--base"])
            .arg(place.join("apparmor.d"));
        run(parser.arg(profile), "")
    };
    let profile = shipped("ivshmem-server.apparmor");
    let output = compile(&profile);
    assert!(output.status.success(), "{output:?}");
    // It would say so of a profile that is wrong.
    let directory = tempfile::tempdir().unwrap();
    let wrong = directory.path().join("wrong");
    let text = std::fs::read_to_string(profile).unwrap();
    std::fs::write(&wrong, text.replace("unix (", "unixx (")).unwrap();
    assert!(!compile(&wrong).status.success());
}

/// As the units and the manual have it, but for the directory.
#[test]
fn example_serves_the_group() {
    let directory = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(shipped("example.toml")).unwrap();
    let config = directory.path().join("example.toml");
    let here = directory.path().to_str().unwrap();
    std::fs::write(&config, text.replace("/run/ivshmem", here)).unwrap();
    let manager = Manager::new(&directory.path().join("notify"));
    let socket = directory.path().join("example.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    manager.pass("ivshmem-server@example.socket", listener);
    let _server = manager.start(&["--config", config.to_str().unwrap(), "--fd-store"]);
    let camera = directory.path().join("example.camera.sock");
    assert_eq!(
        camera.metadata().unwrap().permissions().mode() & 0o777,
        0o660
    );
    let status = directory.path().join("example.status");
    assert_eq!(
        status.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(Peer::join(&camera, 8).id, 1);
    assert_eq!(Peer::join(&socket, 8).id, 0);
    let report = read(status.to_str().unwrap());
    assert_eq!(report["regions"][0]["name"], "example");
    assert_eq!(report["successor"], true);
}

#[test]
fn man_page_renders() {
    let page = print("--print-man-page");
    for section in [
        "SYNOPSIS",
        "OPTIONS",
        "SIGNALS",
        "EXIT STATUS",
        "SUCCESSION",
    ] {
        assert!(page
            .lines()
            .any(|line| line.starts_with(".SH") && line.contains(section)));
    }
    for option in ["socket\\-path", "take\\-over", "allow\\-uid"] {
        assert!(page.contains(option), "{option}");
    }
    let mut groff = Command::new("groff");
    assert_no_complaint(&run(groff.args(["-man", "-Tutf8", "-ww", "-z"]), &page));
}

#[test]
fn completions_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let text = print(&format!("--print-completions={shell}"));
        assert!(text.contains("socket-path"), "{shell}");
    }
    let script = print("--print-completions=bash");
    assert_no_complaint(&run(Command::new("bash").arg("-n"), &script));
}
