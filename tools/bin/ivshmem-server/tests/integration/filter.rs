// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The unit's filter of system calls, and each option of the server under it.
#![allow(unsafe_code)] // The filter is for a child only.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{kill_process, Pid, Signal};
use seccompiler::BpfProgram;

use crate::client::{Connection, Peer};
use crate::server::PROGRAM;

const UNIT: &str = "../../../dist/server/ivshmem-server@.service";

/// The settings of a unit of this name, in order.
fn settings<'unit>(unit: &'unit str, name: &str) -> Vec<&'unit str> {
    let lines = unit.lines().filter_map(|line| line.split_once('='));
    lines
        .filter(|(found, _)| *found == name)
        .map(|(_, value)| value)
        .collect()
}

/// The system calls of a group, as this system's systemd knows it.
fn group(name: &str) -> BTreeSet<String> {
    let output = Command::new("systemd-analyze")
        .args(["syscall-filter", name])
        .output()
        .expect("systemd-analyze is needed");
    assert!(output.status.success(), "{name}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(str::trim);
    let entries = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    entries.skip(1).flat_map(expand).collect()
}

fn expand(entry: &str) -> BTreeSet<String> {
    match entry.starts_with('@') {
        true => group(entry),
        false => BTreeSet::from([entry.to_owned()]),
    }
}

/// A filter that allows these system calls; `None` if one is not known on this machine.
fn compile(calls: &[&str], action: &str) -> Option<BpfProgram> {
    let rules: Vec<_> = calls
        .iter()
        .map(|call| serde_json::json!({ "syscall": call }))
        .collect();
    let action: serde_json::Value = serde_json::from_str(action).unwrap();
    let filter = serde_json::json!({
        "main": { "mismatch_action": action, "match_action": "allow", "filter": rules }
    });
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let mut filters: BTreeMap<_, _> =
        seccompiler::compile_from_json(filter.to_string().as_bytes(), arch)
            .ok()?
            .into_iter()
            .collect();
    filters.remove("main")
}

/// The filter that systemd makes of the unit.
fn filter(unit: &str) -> BpfProgram {
    let mut allowed = BTreeSet::new();
    for value in settings(unit, "SystemCallFilter") {
        let (denies, entries) = match value.strip_prefix('~') {
            Some(rest) => (true, rest),
            None => (false, value),
        };
        for call in entries.split_whitespace().flat_map(expand) {
            if denies {
                allowed.remove(&call);
            } else {
                allowed.insert(call);
            }
        }
    }
    let action = match settings(unit, "SystemCallErrorNumber")[..] {
        [] => "\"kill_process\"".to_owned(),
        _ => "{\"errno\":1}".to_owned(),
    };
    let calls: Vec<_> = allowed.iter().map(String::as_str).collect();
    let known: Vec<_> = calls
        .into_iter()
        .filter(|call| compile(&[call], &action).is_some())
        .collect();
    assert!(known.len() > 100, "{known:?}");
    compile(&known, &action).unwrap()
}

#[test]
fn every_option_works_under_the_filter_of_the_unit() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join(UNIT);
    let filter = filter(&std::fs::read_to_string(unit).unwrap());
    every_option_works(|command| {
        let filter = filter.clone();
        let apply = move || seccompiler::apply_filter(&filter).map_err(std::io::Error::other);
        // SAFETY: The closure makes system calls, and allocates nothing if they succeed.
        unsafe { command.pre_exec(apply) };
    });
}

#[test]
fn every_option_works_confined() {
    every_option_works(|command| {
        command.arg("--confine");
    });
}

/// Starts a server with each option, has one client join, and ends it.
fn every_option_works(prepare: impl Fn(&mut Command)) {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let group = rustix::process::getegid().as_raw().to_string();
    let user = rustix::process::geteuid().as_raw().to_string();
    let memory = format!("path:{}", file("memory"));
    let shm = format!("shm:ivshmem-filter-{}", std::process::id());
    let (status, hand_over, pid) = (file("status"), file("hand-over"), file("pid"));
    let options: [&[&str]; 12] = [
        &[],
        &["--socket-group", &group, "--socket-mode=0660"],
        &["--memory", &memory, "--prealloc"],
        &["--memory", &shm],
        &["--memory", &memory, "--keep-memory"],
        &["-m", directory.path().to_str().unwrap(), "--size=1M"],
        &[
            "--prealloc",
            "--vectors=3",
            "--max-peers=9",
            "--max-peers-per-user=3",
        ],
        &["--allow-uid", &user, "--allow-gid", &group, "--join-rate=5"],
        &["--status-socket", &status, "--hand-over", &hand_over],
        &["--control-socket", &file("control")],
        &["--numa-node=0", "--prealloc"],
        &["--pidfile", &pid, "--foreground", "--log-level=debug"],
    ];
    for (index, options) in options.into_iter().enumerate() {
        let socket = directory.path().join(format!("socket.{index}"));
        let mut command = Command::new(PROGRAM);
        command
            .arg("--socket-path")
            .arg(&socket)
            .args(options)
            .stderr(Stdio::null());
        prepare(&mut command);
        let mut server = command.spawn().unwrap();
        while UnixStream::connect(&socket).is_err() {
            let ended = server.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "{options:?}: {ended:?}, signal {:?}",
                ended.unwrap().signal()
            );
            std::thread::yield_now();
        }
        let vectors = if options.contains(&"--vectors=3") {
            3
        } else {
            8
        };
        assert_eq!(
            Peer::greeted(Connection::open(&socket), vectors).own.len(),
            vectors
        );
        kill_process(Pid::from_child(&server), Signal::TERM).unwrap();
        assert_eq!(server.wait().unwrap().code(), Some(0), "{options:?}");
        let lock = directory.path().join(format!("socket.{index}.lock"));
        assert!(!socket.exists() && !lock.exists(), "{options:?}");
    }
}
