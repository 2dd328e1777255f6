// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `cp` on a host: with processes that join it by the real server.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
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
    let cp = |arguments: &[&str]| cp(&socket, &[&["--timeout", &limit], arguments].concat());
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

/// Starts it with these arguments, on this server.
fn cp(socket: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(PROGRAM);
    let command = command.args(["--json", "cp", "--join", socket]);
    let command = command.args(arguments).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_file_that_has_no_length_arrives_whole() {
    const FILE: &str = "/proc/version";
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let sender = cp(&socket, &[FILE]);
    let receiver = cp(&socket, &["--receive", directory.path().to_str().unwrap()]);
    let received = answer_of(&receiver.wait_with_output().unwrap());
    let sent = answer_of(&sender.wait_with_output().unwrap());
    let expected = fs::read(FILE).unwrap();
    assert_eq!(
        fs::read(directory.path().join("version")).unwrap(),
        expected
    );
    assert_eq!(sent["size"], expected.len());
    assert_eq!(received["size"], expected.len());
}

#[test]
fn what_cannot_get_its_name_is_not_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let file = path_in(directory.path(), "file");
    fs::write(&file, "contents").unwrap();
    let incoming = directory.path().join("incoming");
    let target = incoming.join("file");
    fs::create_dir_all(&target).unwrap();
    let receive = ["--receive", incoming.to_str().unwrap()];
    let sender = cp(&socket, &[&file]);
    let refused = cp(&socket, &receive).wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    // The sender waits for the next try.
    fs::remove_dir(&target).unwrap();
    let received = answer_of(&cp(&socket, &receive).wait_with_output().unwrap());
    assert_eq!(received["from"], 8, "it was sent again");
    assert_eq!(fs::read_to_string(target).unwrap(), "contents");
    let sent = sender.wait_with_output().unwrap();
    assert!(sent.status.success(), "{}", stderr(&sent));
}

#[test]
fn what_is_received_is_not_written_through_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let [file, other] = ["file", "other"].map(|name| path_in(directory.path(), name));
    fs::write(&file, "").unwrap();
    fs::write(&other, "of somebody else").unwrap();
    let incoming = directory.path().join("incoming");
    fs::create_dir(&incoming).unwrap();
    // The SHA-256 of nothing.
    symlink(&other, incoming.join(".file.e3b0c44298fc1c14.part")).unwrap();
    let mut sender = cp(&socket, &[&file]);
    let receiver = cp(&socket, &["--receive", incoming.to_str().unwrap()]);
    let refused = receiver.wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", stdout(&refused));
    assert_eq!(fs::read_to_string(&other).unwrap(), "of somebody else");
    sender.kill().unwrap();
    sender.wait().unwrap();
}

#[test]
fn names_that_do_harm_are_refused() {
    for name in ["\u{1b}[2Jfile", "../file", "/tmp/file", "..", ".profile"] {
        is_refused(name);
    }
}

/// Offers a file of this name to a receiver, which refuses it.
fn is_refused(name: &str) {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let receiver = cp(&socket, &["--receive", directory.path().to_str().unwrap()]);
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
        "note": "offer", "run": 1, "size": 0, "name": name,
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
    assert!(
        text.contains("which is hidden, or not a file name"),
        "{text}"
    );
}
