// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `chat` between processes of the host, on the real server.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ivshmem_channel::{Channel, Layout, Member, Presence};
use ivshmem_peer::Peer;
use rustix::process::{kill_process, Pid, Signal};
use serde_json::{json, Value};
use test_limit::{limit, limit_argument, wait_until};

use super::end::stalled;
use super::{path_in, run, server, stderr, Server, PROGRAM};

/// One who talks, with the answers in JSON.
struct Talker {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Talker {
    fn start(socket: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        let mut child = command
            .args([
                "--json",
                "chat",
                "--join",
                socket,
                "--timeout",
                &limit_argument(),
            ])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
    }

    /// The next thing that it tells.
    fn hear_any(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// The next thing but that it waits for a seat, which on a busy machine may be so for everybody.
    fn hear(&mut self) -> Value {
        loop {
            let heard = self.hear_any();
            if heard["event"] != "waiting" {
                return heard;
            }
        }
    }

    /// Expects this line from somebody.
    fn expect(&mut self, line: &str) {
        let heard = self.hear();
        assert_eq!(
            (&heard["event"], &heard["line"]),
            (&json!("line"), &json!(line))
        );
        assert!(heard["peer_id"].is_u64(), "{heard}");
    }

    fn expect_event(&mut self, event: &str) {
        assert_eq!(self.hear()["event"], event);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends its input, and expects that it leaves.
    fn leave(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn lines_go_both_ways_and_everybody_knows_who_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let mut one = Talker::start(&socket, &[]);
    one.expect_event("alone");
    one.say("this waits until somebody is there");
    let mut two = Talker::start(&socket, &[]);
    one.expect_event("here");
    two.expect_event("here");
    two.expect("this waits until somebody is there");
    two.say("");
    two.say("good morning");
    one.expect("");
    one.expect("good morning");
    two.say("the last words");
    two.leave();
    one.expect("the last words");
    one.expect_event("left");

    let three = Talker::start(&socket, &[]);
    one.expect_event("here");
    three.signal(Signal::KILL);
    one.expect_event("lost");
    // It takes the seat of the one that crashed.
    let mut four = Talker::start(&socket, &[]);
    one.expect_event("here");
    four.expect_event("here");
    one.signal(Signal::INT);
    four.expect_event("left");
    assert!(
        one.child.wait().unwrap().success(),
        "Ctrl-C is an end like any other"
    );
    four.leave();
    let mut killed = three.child;
    killed.wait().unwrap();
}

#[test]
fn what_is_piped_in_comes_out_whole() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let limit = limit_argument();
    let listen = ["chat", "--listen", "--join", &socket, "-t", &limit];
    let file = directory.path().join("heard");
    let mut listener = Command::new(PROGRAM);
    let listener = listener
        .args(listen)
        .stdout(std::fs::File::create(&file).unwrap());
    let listener = listener.stderr(Stdio::piped()).spawn().unwrap();
    // More than the ring holds, and a line that is longer than a message can be.
    let mut text: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
    text += &"x".repeat(40 << 10);
    let mut talker = Command::new(PROGRAM);
    let talk = ["chat", "--join", &socket, "-t", &limit];
    let mut talker = talker.args(talk).stdin(Stdio::piped()).spawn().unwrap();
    talker
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    assert!(talker.wait().unwrap().success());
    let output = listener.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let heard = std::fs::read_to_string(&file).unwrap();
    // The long one goes on in a line of its own.
    text.insert(text.len() - (8 << 10), '\n');
    assert!(
        heard.trim_end() == text,
        "{} bytes of {}",
        heard.len(),
        text.len()
    );
    assert!(
        stderr(&output).ends_with("has left\n"),
        "{}",
        stderr(&output)
    );
}

/// The next message to the second slot.
fn next_of(me: &Member<Arc<Peer>>) -> Vec<u8> {
    let mut message = Vec::new();
    let mut from = me.receiver(0).unwrap();
    assert!(from.receive(&mut message, Some(limit())).unwrap());
    message
}

#[test]
fn whoever_comes_after_one_who_did_not_answer_is_asked_too() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let mut one = Talker::start(&socket, &[]);
    one.expect_event("alone");
    let link = Arc::new(Peer::join(&socket).unwrap());
    let channel = Channel::open(link, 0).unwrap();
    let other = channel.join(1, 0).unwrap();
    one.expect_event("here");
    drop(one.child.stdin.take());
    assert_eq!(next_of(&other)[0], b'E');
    // It does not see that nobody was there in between.
    one.signal(Signal::STOP);
    drop(other);
    let next = channel.join(1, 0).unwrap();
    one.signal(Signal::CONT);
    let asked = next_of(&next);
    assert_eq!(asked[0], b'E');
    let answer = [b"H", &asked[1..]].concat();
    let mut to = next.sender(0).unwrap();
    to.send(&answer, Some(limit())).unwrap();
    assert!(one.child.wait().unwrap().success());
}

#[test]
fn whoever_takes_a_place_at_once_is_not_taken_for_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let mut one = Talker::start(&socket, &[]);
    one.expect_event("alone");
    let link = Arc::new(Peer::join(&socket).unwrap());
    let channel = Channel::open(link, 0).unwrap();
    let other = channel.join(1, 0).unwrap();
    one.expect_event("here");
    // It does not see that nobody was there in between.
    one.signal(Signal::STOP);
    drop(other);
    let next = channel.join(1, 0).unwrap();
    one.signal(Signal::CONT);
    one.expect_event("left");
    one.expect_event("here");
    drop(next);
    one.expect_event("left");
    one.leave();
}

/// Longer than a program may be silent that is taken for one that lives.
const SILENCE: Duration = Duration::from_secs(6);

/// Whether the one in slot 0 is seen to live all the time.
pub fn stays(me: &Member<Arc<Peer>>) -> bool {
    let lives = || matches!(me.presence(0).unwrap(), Presence::Present { .. });
    wait_until("it is there", lives);
    let begin = Instant::now();
    while begin.elapsed() < SILENCE {
        if !lives() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

#[test]
fn who_waits_for_the_reader_of_its_output_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let (full, _reader) = stalled();
    let mut talk = Command::new(PROGRAM);
    let talk = talk.args(["--json", "chat", "--listen", "--join", &socket]);
    let _talker = Server(talk.stdout(full).spawn().unwrap());
    let link = Arc::new(Peer::join(&socket).unwrap());
    let mut channel = None;
    wait_until("the channel is there", || {
        channel = Channel::open(link.clone(), 0).ok();
        channel.is_some()
    });
    let me = channel.unwrap().join(1, 0).unwrap();
    assert!(stays(&me), "it was silent");
}

#[test]
fn a_line_is_cut_where_it_has_to_be_and_nowhere_else() {
    const LONGEST: usize = 32 << 10;
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let mut listener = Talker::start(&socket, &["--listen"]);
    listener.expect_event("alone");
    let mut talker = Talker::start(&socket, &[]);
    listener.expect_event("here");
    let longest = "x".repeat(LONGEST);
    talker.say(&longest);
    talker.say("another one");
    listener.expect(&longest);
    listener.expect("another one");
    // A character of three bytes, which the limit is in the middle of.
    let text = "€".repeat(LONGEST / 2);
    talker.say(&text);
    let whole = LONGEST / 3 * 3;
    listener.expect(&text[..whole]);
    listener.expect(&text[whole..]);
    talker.leave();
}

#[test]
fn nobody_to_talk_to_is_a_time_limit_and_another_layout_can_be_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let listen = ["chat", "--listen", "--join", &socket, "-t", "100ms"];
    let late = run(&listen);
    assert_eq!(late.status.code(), Some(5));
    assert!(
        stderr(&late).contains("ivshmemctl chat"),
        "{}",
        stderr(&late)
    );

    let peer = Arc::new(Peer::join(&socket).unwrap());
    Channel::create(peer, 0, &Layout::duplex(4096)).unwrap();
    let other = run(&listen);
    assert_eq!(other.status.code(), Some(1));
    assert!(stderr(&other).contains("--overwrite"), "{}", stderr(&other));
    let anew = run(&[&listen[..], &["--overwrite"]].concat());
    assert_eq!(anew.status.code(), Some(5), "{}", stderr(&anew));
}

#[test]
fn a_third_is_told_that_it_waits_for_a_seat() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let mut one = Talker::start(&socket, &[]);
    one.expect_event("alone");
    let mut two = Talker::start(&socket, &[]);
    one.expect_event("here");
    two.expect_event("here");
    let refused = run(&["chat", "--listen", "--join", &socket, "-t", "10ms"]);
    assert_eq!(refused.status.code(), Some(5));
    let text = stderr(&refused);
    assert!(text.contains("both slots are taken"), "{text}");
    let mut three = Talker::start(&socket, &[]);
    assert_eq!(three.hear_any()["event"], "waiting");
    two.leave();
    one.expect_event("left");
    one.expect_event("here");
    three.expect_event("here");
    three.leave();
    one.leave();
}

#[test]
fn a_channel_that_is_made_anew_again_and_again_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let peer = Peer::join(&socket).unwrap();
    let layout = Layout::duplex(256 << 10);
    let mut listen = Command::new(PROGRAM);
    let listen = listen.args(["chat", "--listen", "--join", &socket]);
    let mut listen = listen.stderr(Stdio::piped()).spawn().unwrap();
    wait_until("it gives up", || {
        Channel::create(&peer, 0, &layout).unwrap();
        // Long enough to join.
        std::thread::sleep(Duration::from_millis(5));
        listen.try_wait().unwrap().is_some()
    });
    let refused = listen.wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let text = stderr(&refused);
    assert!(text.contains("keeps recreating"), "{text}");
}
