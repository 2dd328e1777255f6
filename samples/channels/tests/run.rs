// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The samples, each of its programs as a process, on the real server.

mod rtos;

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::{kill_process, Pid, Signal};
use vmbench::Region;

/// A process that does not outlive the test.
struct Program {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(program: &str, link: &Path, words: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.arg(link).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, said }
    }

    /// The next line that it says.
    fn line(&mut self) -> String {
        self.said.next().expect("it says more").unwrap()
    }

    fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// All that it still says, up to its good end.
    fn succeeds(mut self) -> Vec<String> {
        let rest = self.said.by_ref().map(Result::unwrap).collect();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        rest
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails if it has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn four_clients_are_served_although_programs_are_killed() {
    const RPC: &str = env!("CARGO_BIN_EXE_rpc");
    let region = Region::start(1 << 20, 1).unwrap();
    let link = &region.socket();
    let serve = || {
        let mut server = Program::start(RPC, link, &["serve"]);
        assert_eq!(server.line(), "serving");
        server
    };
    let mut server = serve();
    let clients = [(); 3].map(|()| Program::start(RPC, link, &["ask", "20000"]));
    // They are at it.
    for _ in 0..3 {
        let unfinished = Program::start(RPC, link, &["ask", "100000"]);
        let one = Program::start(RPC, link, &["ask", "1"]);
        // Its slot is free again once it was killed.
        unfinished.kill();
        assert_eq!(one.succeeds(), ["1 answers"]);
        server.kill();
        server = serve();
    }
    for client in clients {
        assert_eq!(client.succeeds(), ["20000 answers"]);
    }
    server.kill();
}

#[test]
fn frames_arrive_although_programs_are_started_again() {
    const FRAMES: &str = env!("CARGO_BIN_EXE_frames");
    let region = Region::start(16 << 20, 1).unwrap();
    let run = |words: &[&str]| Program::start(FRAMES, &region.socket(), words);
    let looks = run(&["look", "8"]);
    assert!(run(&["draw", "5"]).succeeds().is_empty());
    let draws = run(&["draw", "7"]);
    for (looks, count) in [(looks, 8), (run(&["look", "4"]), 4)] {
        let said = looks.succeeds();
        assert!(
            said[0].starts_with(&format!("{count} frames, ")),
            "{said:?}"
        );
    }
    assert!(draws.succeeds().is_empty());
}

#[test]
fn the_newest_value_is_shown() {
    const LATEST: &str = env!("CARGO_BIN_EXE_latest");
    let region = Region::start(1 << 20, 1).unwrap();
    let shows = [(); 3].map(|()| Program::start(LATEST, &region.socket(), &["show"]));
    let measures = Program::start(LATEST, &region.socket(), &["measure", "1000"]);
    assert!(measures.succeeds().is_empty());
    for show in shows {
        let said = show.succeeds();
        let last = said.last().unwrap();
        assert!(last.starts_with("value 1000 is 1000000;"), "{said:?}");
    }
}

#[test]
fn all_readers_get_the_news() {
    const NEWS: &str = env!("CARGO_BIN_EXE_news");
    let region = Region::start(1 << 20, 1).unwrap();
    let mut readers = [(); 3].map(|()| Program::start(NEWS, &region.socket(), &["read"]));
    let mut publishes = Program::start(NEWS, &region.socket(), &["publish"]);
    let mut input = publishes.input();
    for reader in &mut readers {
        assert_eq!(reader.line(), "reading");
    }
    // One at a time, so that nobody can miss any.
    for n in 0..100 {
        writeln!(input, "line {n}").unwrap();
        for reader in &mut readers {
            assert_eq!(reader.line(), format!("line {n}"));
        }
    }
    drop(input);
    assert!(publishes.succeeds().is_empty());
    for reader in readers {
        assert!(reader.succeeds().is_empty());
    }
}

#[test]
fn each_way_to_wait_ends_on_a_signal() {
    const WAITS: &str = env!("CARGO_BIN_EXE_waits");
    let region = Region::start(1 << 20, 1).unwrap();
    let link = &region.socket();
    for way in ["thread", "loop", "tokio"] {
        for signal in [Signal::TERM, Signal::INT] {
            let mut waits = Program::start(WAITS, link, &[way]);
            assert_eq!(waits.line(), "waiting");
            for text in ["one", "two"] {
                Program::start(WAITS, link, &["say", text]).succeeds();
                assert_eq!(waits.line(), text, "{way}");
            }
            waits.signal(signal);
            assert!(waits.succeeds().is_empty(), "{way}");
        }
    }
}

#[test]
fn a_file_will_do_where_there_is_no_server() {
    const RPC: &str = env!("CARGO_BIN_EXE_rpc");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("memory");
    let file = std::fs::File::create_new(&path).unwrap();
    file.set_len(1 << 20).unwrap();
    let mut server = Program::start(RPC, &path, &["serve"]);
    assert_eq!(server.line(), "serving");
    let clients = [(); 2].map(|()| Program::start(RPC, &path, &["ask", "100"]));
    for client in clients {
        assert_eq!(client.succeeds(), ["100 answers"]);
    }
    server.kill();
}
