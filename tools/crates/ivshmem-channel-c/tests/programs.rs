// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Programs in C and C++ with the library, each as a process: with each other on the real server, with programs in Rust,
//! and with the header that needs no library.

mod built;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use built::{Language, Library, Program, EACH};
use ivshmem::SharedFile;
use ivshmem_channel::{rpc, Channel, Layout};
use ivshmem_peer::Peer;
use test_limit::limit;
use vmbench::Region;

const ROUNDS: &str = "2000";
const ROUNDS_NUMBER: u32 = 2000;
/// Bytes of each ring in `peer.c`.
const RING: u32 = 960;

/// A file of memory, and where it is.
fn memory(library: &Library) -> std::path::PathBuf {
    let path = library.directory().join("memory");
    File::create(&path).unwrap().set_len(1 << 20).unwrap();
    path
}

/// As in `peer.c`.
fn message(number: u32) -> Vec<u8> {
    let len = number.wrapping_mul(2_654_435_761) % 500 + 1;
    (0..len)
        .map(|at| (number ^ at.wrapping_mul(167)) as u8)
        .collect()
}

#[test]
fn the_contract_is_kept_in_a_file_and_on_a_server() {
    for (language, linked) in EACH {
        let library = Library::new(linked);
        let program = library.compile(language, "contract");
        let region = Region::start(1 << 20, 1).unwrap();
        for link in [memory(&library), region.socket()] {
            let status = Command::new(&program).arg(&link).status().unwrap();
            assert!(status.success(), "{language:?}, {linked:?}, {link:?}");
        }
    }
}

#[test]
fn a_link_is_of_use_without_a_channel() {
    for (language, linked) in EACH {
        let library = Library::new(linked);
        let program = library.compile(language, "link");
        let region = Region::start(1 << 20, 1).unwrap();
        for (link, way) in [
            (memory(&library), "a file"),
            (region.socket(), "an ivshmem server"),
        ] {
            let run = |words: &[&str]| {
                let output = Command::new(&program).arg(&link).args(words).output();
                let output = output.unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{language:?}, {link:?}: {said}");
                String::from_utf8(output.stdout).unwrap()
            };
            assert!(run(&["check"]).contains(&format!("\nby {way}")));
        }
    }
}

#[test]
fn two_links_ring_each_other() {
    let library = Library::shared();
    let program = library.compile(Language::C, "link");
    let region = Region::start(1 << 20, 1).unwrap();
    let mut pong = Command::new(&program);
    pong.arg(region.socket()).args(["pong", ROUNDS]);
    let mut pong = pong.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(pong.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap() == "ready"));
    Program::start(&program, &region.socket(), &["ping", ROUNDS]).succeeds();
    assert!(pong.wait().unwrap().success());
}

#[test]
fn programs_in_c_and_in_cpp_talk() {
    let library = Library::shared();
    let [c, cpp] = [Language::C, Language::Cpp].map(|language| library.compile(language, "peer"));
    let region = Region::start(1 << 20, 1).unwrap();
    let link = &region.socket();
    let pairs: [(&[&str], &[&str]); 3] = [
        (&["talk", ROUNDS], &["echo"]),
        (&["talk", ROUNDS], &["pass"]),
        (&["publish", ROUNDS], &["subscribe", ROUNDS]),
    ];
    for (one, other) in pairs {
        for (first, second) in [(&c, &cpp), (&cpp, &c)] {
            let file = memory(&library);
            for link in [link, &file] {
                let other = Program::start(second, link, other);
                Program::start(first, link, one).succeeds();
                other.succeeds();
                // The next channel in this memory has another layout.
                clear(link);
            }
        }
    }
}

/// Nothing is read that has no value, used after it was freed, or lost; and the library runs there at all.
#[test]
fn valgrind_finds_nothing() {
    let library = Library::shared();
    let program = &library.compile(Language::C, "peer");
    let region = Region::start(1 << 20, 1).unwrap();
    let link = &region.socket();
    let start = |words: &[&str]| {
        let mut command = Command::new("valgrind");
        command.args(["--quiet", "--error-exitcode=99", "--leak-check=full"]);
        command.args(["--errors-for-leak-kinds=definite,possible"]);
        Program::of(command.arg(program).arg(link).args(words))
    };
    let pairs: [(&[&str], &[&str]); 4] = [
        (&["talk", "50"], &["echo"]),
        (&["talk", "50"], &["pass"]),
        (&["publish", "50"], &["subscribe", "50"]),
        (&["ask", "0"], &["serve"]),
    ];
    for (one, other) in pairs {
        let other = start(other);
        start(one).succeeds();
        other.succeeds();
        // The next channel in this memory has another layout.
        clear(link);
    }
}

#[test]
fn several_messages_of_several_senders_come_at_a_time() {
    let library = Library::shared();
    let program = &library.compile(Language::C, "peer");
    let region = Region::start(1 << 20, 1).unwrap();
    let link = &region.socket();
    let senders = ["0", "1"].map(|slot| Program::start(program, link, &["scatter", slot, ROUNDS]));
    Program::start(program, link, &["gather", ROUNDS]).succeeds();
    senders.into_iter().for_each(Program::succeeds);
}

#[test]
fn requests_are_answered_across_languages() {
    let library = Library::shared();
    let program = &library.compile(Language::C, "peer");
    let region = Region::start(1 << 20, 1).unwrap();
    let link = &region.socket();
    let layout = rpc::layout(2, RING, RING);
    let peer = Arc::new(Peer::join(link).unwrap());
    let channel = Channel::create(peer, 0, &layout).unwrap();
    // A server in C, a client in Rust.
    let server = Program::start(program, link, &["serve"]);
    let mut client = rpc::Client::join(&channel, 0).unwrap();
    for number in 0..ROUNDS_NUMBER {
        let mut answer = client.call(&message(number), Some(limit())).unwrap();
        answer.reverse();
        assert_eq!(answer, message(number));
    }
    drop(client);
    // Clients in C.
    Program::start(program, link, &["ask", ROUNDS]).succeeds();
    Program::start(program, link, &["ask", "0"]).succeeds();
    server.succeeds();
    // A server in Rust.
    let mut server = rpc::Server::join(&channel, 0).unwrap();
    let client = Program::start(program, link, &["ask", ROUNDS]);
    for number in 0..ROUNDS_NUMBER {
        let request = server.next(Some(limit())).unwrap().unwrap();
        assert_eq!(request.body, message(number));
        let answer: Vec<_> = request.body.iter().rev().copied().collect();
        assert!(server.reply(&request, &answer).unwrap());
    }
    client.succeeds();
}

#[test]
fn rust_and_c_talk() {
    let library = Library::shared();
    let program = &library.compile(Language::C, "peer");
    let region = Region::start(1 << 20, 1).unwrap();
    let link = &region.socket();
    let layout = Layout::duplex(RING);
    let peer = Arc::new(Peer::join(link).unwrap());
    let join = |slot| {
        let peer = Arc::clone(&peer);
        Channel::create_or_join(peer, 0, &layout, |channel| channel.join(slot, 0)).unwrap()
    };
    // Rust talks.
    let echo = Program::start(program, link, &["echo"]);
    let me = join(0);
    let (mut to, mut from) = (me.sender(1).unwrap(), me.receiver(1).unwrap());
    let mut got = Vec::new();
    for number in 0..ROUNDS_NUMBER {
        to.send(&message(number), Some(limit())).unwrap();
        assert!(from.receive(&mut got, Some(limit())).unwrap());
        assert_eq!(got, message(number));
    }
    to.send(&[], Some(limit())).unwrap();
    assert!(from.receive(&mut got, Some(limit())).unwrap());
    echo.succeeds();
    drop((to, from, me));
    // Rust echoes.
    let talk = Program::start(program, link, &["talk", ROUNDS]);
    let me = join(1);
    let (mut to, mut from) = (me.sender(0).unwrap(), me.receiver(0).unwrap());
    loop {
        assert!(from.receive(&mut got, Some(limit())).unwrap());
        to.send(&got, Some(limit())).unwrap();
        if got.is_empty() {
            break;
        }
    }
    talk.succeeds();
}

#[test]
fn the_library_talks_to_the_header_that_needs_none() {
    let library = Library::shared();
    let talk = library.compile(Language::C, "peer");
    let echo = "tools/crates/ivshmem-channel/tests/c/echo.c";
    let echo = library.compile_other(Language::C, echo);
    let path = memory(&library);
    // The two rings come after the header, the table of two and two slots; Documentation/channel.rst has the layout.
    let first = 512u32;
    let second = first + 256 + RING;
    let layout = Layout::duplex(RING).heartbeat(Duration::from_millis(500), Duration::from_secs(3));
    let link = Arc::new(SharedFile::open(&path).unwrap());
    let channel = Channel::create(link, 0, &layout).unwrap();
    let generation = channel.plan().generation();
    let numbers = [1 << 20, generation, first, second, RING];
    let numbers = numbers.map(|number| number.to_string());
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let echo = Program::of(Command::new(echo).args(numbers).stdin(file));
    Program::start(&talk, &path, &["talk", ROUNDS]).succeeds();
    echo.succeeds();
}

#[test]
fn the_sample_says_hello() {
    let library = Library::shared();
    let program = library.compile_other(Language::C, "samples/channels/hello.c");
    let region = Region::start(1 << 20, 1).unwrap();
    let start = |slot| {
        let mut command = Command::new(&program);
        command.arg(region.socket()).arg(slot);
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    for (child, hears) in [start("0"), start("1")].into_iter().zip(["1", "0"]) {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said, format!("hello from slot {hears}\n"));
    }
}

#[test]
fn the_sample_in_cpp_collects_the_lines_of_all() {
    let library = Library::shared();
    let program = library.compile_other(Language::Cpp, "samples/channels/collect.cpp");
    let region = Region::start(1 << 20, 1).unwrap();
    let start = |what| {
        let mut command = Command::new(&program);
        command.arg(region.socket()).arg(what);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.spawn().unwrap()
    };
    let collects = start("collect");
    let mut says = ["one", "two"].map(|name| (start("say"), name));
    for (child, name) in &mut says {
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "{name}\nbye").unwrap();
    }
    let output = collects.wait_with_output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    for (mut child, name) in says {
        assert!(child.wait().unwrap().success());
        // One that comes later may have the slot of one that has left.
        let line = said.lines().position(|line| line.ends_with(name)).unwrap();
        let slot = &said.lines().nth(line).unwrap()[..1];
        let bye = format!("{slot}: bye");
        assert!(said.lines().skip(line).any(|line| line == bye), "{said}");
    }
}

/// Makes the memory such that no channel is there.
fn clear(link: &Path) {
    use ivshmem::Memory;
    let nothing = [0; 4096];
    match link.ends_with("memory") {
        true => SharedFile::open(link).unwrap().write(0, &nothing).unwrap(),
        false => Peer::join(link).unwrap().write(0, &nothing).unwrap(),
    }
}
