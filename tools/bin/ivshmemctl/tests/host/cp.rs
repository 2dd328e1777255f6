// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `cp` on a host: with processes that join it by the real server.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ivshmem_channel::Channel;
use ivshmem_peer::Peer;
use serde_json::json;
use test_limit::{limit, limit_argument};

use super::{answer_of, path_in, run, server, stderr, stdout, PROGRAM};

/// Blocks until the hidden file of an unfinished copy has `length` bytes.
fn wait_for_part(directory: &Path, length: u64) {
    let part = |entry: fs::DirEntry| {
        let hidden = entry.file_name().to_string_lossy().ends_with(".part");
        hidden.then(|| entry.metadata().unwrap().len())
    };
    let arrived = || fs::read_dir(directory).unwrap().flatten().find_map(part);
    test_limit::wait_for_count("bytes of the copy", length, || {
        arrived().unwrap_or_default()
    });
}

#[test]
fn a_copy_survives_a_receiver_that_is_killed() {
    const SIZE: usize = 32 << 20;
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let mut original = vec![0; SIZE + 77];
    fs::File::open("/dev/urandom")
        .unwrap()
        .read_exact(&mut original)
        .unwrap();
    let file = path_in(directory.path(), "original");
    fs::write(&file, &original).unwrap();
    let incoming = directory.path().join("incoming");
    fs::create_dir(&incoming).unwrap();
    let limit = limit_argument();
    let cp = |arguments: &[&str]| {
        let common = ["--json", "cp", "--join", &socket, "--timeout", &limit];
        let mut command = Command::new(PROGRAM);
        command
            .args(common)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let receive = ["--receive", incoming.to_str().unwrap()];

    let mut first = cp(&receive);
    let sender = cp(&[&file]);
    wait_for_part(&incoming, SIZE as u64 / 3);
    first.kill().unwrap();
    assert!(
        !first.wait().unwrap().success(),
        "it was done before it was killed"
    );

    let received = cp(&receive).wait_with_output().unwrap();
    let sent = sender.wait_with_output().unwrap();
    let answer = answer_of(&received);
    assert_eq!(answer["size"], SIZE + 77);
    assert!(
        answer["from"].as_u64() >= Some(SIZE as u64 / 3),
        "it began anew: {answer}"
    );
    let told = answer_of(&sent);
    assert_eq!(told["sha256"], answer["sha256"]);
    assert!(
        fs::read(incoming.join("original")).unwrap() == original,
        "it is another file"
    );
    assert_eq!(
        fs::read_dir(&incoming).unwrap().count(),
        1,
        "something was left behind"
    );
}

#[test]
fn a_copy_without_a_receiver_says_what_to_run() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let late = run(&["cp", "--join", &socket, "--timeout", "100ms", PROGRAM]);
    assert_eq!(late.status.code(), Some(5));
    assert!(stderr(&late).contains("cp --receive"), "{}", stderr(&late));
}

#[test]
fn a_name_that_steers_a_terminal_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let receive = ["cp", "--join", &socket, "--receive"];
    let receiver = Command::new(PROGRAM)
        .args(receive)
        .arg(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let link = Arc::new(Peer::join(&socket).unwrap());
    let mut channel = None;
    test_limit::wait_until("the receiver has made the channel", || {
        channel = Channel::open(link.clone(), 0).ok();
        channel.is_some()
    });
    let me = channel.unwrap().join(0, 0).unwrap();
    let mut to = me.sender(1).unwrap();
    // The SHA-256 of nothing.
    let offer = json!({
        "note": "offer", "run": 1, "size": 0, "name": "\u{1b}[2Jfile",
        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    });
    for note in [offer, json!({ "note": "end", "run": 1 })] {
        let bytes = serde_json::to_vec(&note).unwrap();
        to.send(&bytes, Some(limit())).unwrap();
    }
    let refused = receiver.wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(7), "{}", stderr(&refused));
    assert!(!stdout(&refused).contains('\u{1b}'));
    let text = stderr(&refused);
    assert!(text.contains("which is not a file name"), "{text}");
}
