// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `cp` on a host: with processes that join it by the real server.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use ivshmem_channel::{Channel, Receiver};
use ivshmem_peer::Peer;
use rustix::fs::{mkfifoat, Mode, CWD};
use serde_json::{json, Value};
use test_limit::{limit, limit_argument, wait_until};

use super::chat::stays;
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
fn a_sender_that_reads_for_long_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    // What is read has no end, as long as somebody can write to it.
    let slow = path_in(directory.path(), "slow");
    mkfifoat(CWD, &slow, Mode::RUSR | Mode::WUSR).unwrap();
    let _writer = fs::File::options().read(true).write(true).open(&slow);
    let mut sender = cp(&socket, &[&slow]);
    let link = Arc::new(Peer::join(&socket).unwrap());
    let me = open(&link).join(1, 0).unwrap();
    assert!(stays(&me), "it was silent");
    sender.kill().unwrap();
    sender.wait().unwrap();
}

#[test]
fn offers_of_which_nothing_came_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let incoming = directory.path().join("incoming");
    fs::create_dir(&incoming).unwrap();
    let mut receiver = cp(&socket, &["--receive", incoming.to_str().unwrap()]);
    let mut sender = Sender::new(&socket);
    let offer = |run, name: &str, first: char| Offer {
        run,
        size: 100,
        name: name.into(),
        sha256: first.to_string().repeat(64),
    };
    for run in 1..9 {
        sender.offer(&offer(run, &format!("file{run}"), 'a'));
    }
    // Of this one something comes, which may be asked for again, until the file is another one.
    sender.offer(&offer(9, "file", 'a'));
    sender.send_piece(9, b"contents");
    sender.offer(&offer(10, "other", 'b'));
    let parts = || {
        let entries = fs::read_dir(&incoming).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<BTreeSet<_>>()
    };
    let name = |name: &str, first: char| format!(".{name}.{}.part", first.to_string().repeat(16));
    let expected = [name("file", 'a'), name("other", 'b')];
    assert_eq!(parts(), BTreeSet::from(expected));
    sender.offer(&offer(11, "file", 'a'));
    sender.offer(&offer(12, "file", 'c'));
    assert_eq!(parts(), BTreeSet::from([name("file", 'c')]));
    receiver.kill().unwrap();
    receiver.wait().unwrap();
}

/// Where in a file a process is that has it open.
fn position(process: &Child, file: &Path) -> Option<u64> {
    let process = format!("/proc/{}", process.id());
    let fds = fs::read_dir(format!("{process}/fd")).ok()?.flatten();
    let mut fds = fds.filter(|fd| fs::read_link(fd.path()).is_ok_and(|path| path == file));
    let number = fds.next()?.file_name().into_string().ok()?;
    let info = fs::read_to_string(format!("{process}/fdinfo/{number}")).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("pos:"))?;
    line.trim().parse().ok()
}

#[test]
fn a_file_that_has_arrived_has_arrived_though_the_sender_cannot_be_told() {
    const SIZE: u64 = 64 << 20;
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let incoming = directory.path().join("incoming");
    fs::create_dir(&incoming).unwrap();
    let zeros = incoming.join("zeros");
    fs::File::create(&zeros).unwrap().set_len(SIZE).unwrap();
    let sum = Command::new("sha256sum").arg(&zeros).output().unwrap();
    let sha256 = stdout(&sum)[..64].to_string();
    let part = incoming.join(format!(".zeros.{}.part", &sha256[..16]));
    fs::rename(&zeros, &part).unwrap();
    let receiver = cp(&socket, &["--receive", incoming.to_str().unwrap()]);
    let mut sender = Sender::new(&socket);
    let (run, size, name) = (1, SIZE, "zeros".into());
    let resume = sender.offer(&Offer {
        run,
        size,
        name,
        sha256,
    });
    assert_eq!(resume["offset"], SIZE);
    sender.say(&json!({ "note": "end", "run": run }));
    wait_until("it is looked at what has arrived", || {
        position(&receiver, &part).is_some_and(|at| (1..SIZE).contains(&at))
    });
    let layout = sender.channel.plan().layout().clone();
    Channel::create(sender.link.clone(), 0, &layout).unwrap();
    let received = receiver.wait_with_output().unwrap();
    assert_eq!(answer_of(&received)["size"], SIZE);
    assert!(received.status.success(), "{}", stderr(&received));
    let text = stderr(&received);
    assert!(text.contains("the sender was not told"), "{text}");
    assert_eq!(fs::metadata(&zeros).unwrap().len(), SIZE);
}

/// A file that is offered.
struct Offer {
    run: u32,
    size: u64,
    name: String,
    sha256: String,
}

/// One who says to a receiver what it likes.
struct Sender {
    link: Arc<Peer>,
    channel: Channel<Arc<Peer>>,
    to: ivshmem_channel::Sender<Arc<Peer>>,
    from: Receiver<Arc<Peer>>,
}

impl Sender {
    /// Takes the sender's place in the channel that a receiver makes.
    fn new(socket: &str) -> Self {
        let link = Arc::new(Peer::join(socket).unwrap());
        let channel = open(&link);
        let me = channel.join(0, 0).unwrap();
        Self {
            link,
            channel,
            to: me.sender(1).unwrap(),
            from: me.receiver(1).unwrap(),
        }
    }

    fn say(&mut self, note: &Value) {
        let bytes = serde_json::to_vec(note).unwrap();
        self.to.send(&bytes, Some(limit())).unwrap();
    }

    /// Offers a file, and returns what the receiver answers.
    fn offer(&mut self, offer: &Offer) -> Value {
        self.say(&json!({
            "note": "offer", "run": offer.run, "size": offer.size, "name": offer.name, "sha256": offer.sha256,
        }));
        loop {
            let mut answer = Vec::new();
            assert!(self.from.receive(&mut answer, Some(limit())).unwrap());
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["note"] == "resume" {
                assert_eq!(answer["run"], offer.run);
                return answer;
            }
        }
    }

    /// Sends the first bytes of a file.
    fn send_piece(&mut self, run: u32, bytes: &[u8]) {
        let header = [&b"P"[..], &run.to_le_bytes(), &[0; 8]].concat();
        let piece = [&header, bytes].concat();
        self.to.send(&piece, Some(limit())).unwrap();
    }
}

/// The channel that somebody makes.
fn open(link: &Arc<Peer>) -> Channel<Arc<Peer>> {
    let mut channel = None;
    wait_until("the channel is there", || {
        channel = Channel::open(link.clone(), 0).ok();
        channel.is_some()
    });
    channel.unwrap()
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
    let mut sender = Sender::new(&socket);
    // The SHA-256 of nothing.
    let sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    sender.say(&json!({ "note": "offer", "run": 1, "size": 0, "name": name, "sha256": sha256 }));
    sender.say(&json!({ "note": "end", "run": 1 }));
    let refused = receiver.wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(7), "{}", stderr(&refused));
    assert!(!stdout(&refused).contains('\u{1b}'));
    let text = stderr(&refused);
    assert!(
        text.contains("which is hidden, or not a file name"),
        "{text}"
    );
}
