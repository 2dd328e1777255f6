// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ping` between processes of the host, on the real server.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use ivshmem::{Doorbell, Memory};
use ivshmem_peer::Peer;
use rustix::process::{kill_process, Pid, Signal};
use test_limit::{limit_argument, wait_until};

use super::{answer_of, first_other, path_in, run, server, stderr, stdout, Server, PROGRAM};

/// One who answers at `offset`.
fn serve(socket: &str, offset: &str) -> Server {
    let serve = Command::new(PROGRAM)
        .args(["ping", "--serve", "--join", socket, "-s", offset])
        .spawn()
        .unwrap();
    Server(serve)
}

#[test]
fn a_peer_that_serves_answers_pings() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let _serve = serve(&socket, "4K");
    let other = first_other(&socket, 1);
    let limit = limit_argument();
    let common = ["ping", "--join", &socket, &other, "-s", "4K", "-t", &limit];
    let output = run(&[&common[..], &["-j", "-c", "300", "-i", "0"]].concat());
    let answer = answer_of(&output);
    assert_eq!(answer["round_trips"], 300);
    assert!(
        answer["min"].as_u64() <= answer["median"].as_u64(),
        "{answer}"
    );
    // A line for each, and what they sum up to.
    let text = stdout(&run(&[&common[..], &["-c", "2", "-i", "0.01"]].concat()));
    let lines: Vec<_> = text.lines().collect();
    let begins = |line: usize, what: &str| lines[line].starts_with(what);
    assert!(begins(0, &format!("peer {other}: seq=1 time=")), "{text}");
    assert!(begins(1, &format!("peer {other}: seq=2 time=")), "{text}");
    assert!(
        begins(2, &format!("2 round trips to peer {other}: min/")),
        "{text}"
    );
    // Elsewhere nobody serves.
    let late = run(&["ping", "--join", &socket, &other, "-s", "8K", "-t", "50ms"]);
    assert_eq!(late.status.code(), Some(5));
    assert!(stderr(&late).contains("ping --serve"), "{}", stderr(&late));
}

#[test]
fn who_serves_tells_by_which_id_it_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    // Somebody else has the first ID.
    let _peer = Peer::join(&socket).unwrap();
    let mut serve = Server(
        Command::new(PROGRAM)
            .args(["ping", "--serve", "--join", &socket])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    let told = serve.0.stderr.as_mut().unwrap();
    BufReader::new(told).read_line(&mut line).unwrap();
    let id = line.split(' ').nth(2).expect("* peer ID answers");
    assert_ne!(id, "0", "{line}");
    let limit = limit_argument();
    let ping = ["ping", "--join", &socket, id, "-c", "1", "-t", &limit];
    let asked = stdout(&run(&ping));
    assert!(asked.starts_with(&format!("peer {id}: seq=1 ")), "{asked}");
}

#[test]
fn ping_prints_as_it_goes_and_sums_up_at_a_signal() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let _serve = serve(&socket, "4K");
    let other = first_other(&socket, 1);
    let limit = limit_argument();
    let mut ping = Command::new(PROGRAM);
    ping.args([
        "ping", "--join", &socket, &other, "-s", "4K", "-t", &limit, "-i", "0.01",
    ]);
    let mut ping = ping.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(ping.stdout.take().unwrap());
    let mut line = String::new();
    for number in 1..=3 {
        line.clear();
        output.read_line(&mut line).unwrap();
        assert!(line.contains(&format!(" seq={number} ")), "{line}");
    }
    kill_process(Pid::from_child(&ping), Signal::INT).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(ping.wait().unwrap().success());
    assert!(rest.contains(" round trips to peer "), "{rest}");
}

#[test]
fn ping_does_not_write_over_what_it_does_not_know() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    assert!(run(&["poke", "--join", &socket, "0x1070", "7"])
        .status
        .success());
    for arguments in [&["--serve"][..], &["0"]] {
        let ping = ["ping", "--join", &socket, "-s", "4K", "-t", "50ms"];
        let refused = run(&[&ping[..], arguments].concat());
        assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
        let text = stderr(&refused);
        assert!(
            text.contains("--offset") && text.contains("--overwrite"),
            "{text}"
        );
    }
    let before = stdout(&run(&["dump", "--join", &socket, "-s", "4K", "-n", "128"]));
    let words: Vec<_> = before.lines().collect();
    assert!(
        words[0].starts_with("00001000  00 00 00 00 00 00 00 00"),
        "{before}"
    );
    // Who is told to may.
    let late = run(&[
        "ping",
        "--join",
        &socket,
        "-s",
        "4K",
        "-t",
        "50ms",
        "--serve",
        "--overwrite",
    ]);
    assert_eq!(late.status.code(), Some(5), "{}", stderr(&late));
    let late = run(&[
        "ping", "--join", &socket, "-s", "4K", "-t", "50ms", "--serve",
    ]);
    assert_eq!(
        late.status.code(),
        Some(5),
        "its own place: {}",
        stderr(&late)
    );
}

#[test]
fn who_asks_before_the_other_is_there_gets_an_answer() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let limit = limit_argument();
    let ping = ["--join", &socket, "-s", "4K", "-t", &limit, "-c", "1"];
    // Nobody has that ID, so that no ring brings about what a look at the memory has to.
    let mut ping = Command::new(PROGRAM)
        .args(["ping", "77"])
        .args(ping)
        .spawn()
        .unwrap();
    let peer = Peer::join(&socket).unwrap();
    wait_until("it has asked", || {
        peer.load32(4096, Ordering::Acquire).unwrap() != 0
    });
    let _serve = serve(&socket, "4K");
    assert!(ping.wait().unwrap().success());
}

#[test]
fn who_asks_without_an_id_ends_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let mut serve = serve(&socket, "4K");
    let peer = Peer::join(&socket).unwrap();
    let at = |word: u64| 4096 + word;
    let load = |word| peer.load32(at(word), Ordering::Acquire).unwrap();
    wait_until("it serves", || load(8) == u32::from_le_bytes(*b"ping"));
    let mut number = 0;
    for asker in [u32::MAX, peer.peer_id()] {
        peer.store32(at(4), asker, Ordering::Relaxed).unwrap();
        number += 1;
        peer.store32(at(0), number, Ordering::Release).unwrap();
        wait_until("it answers", || {
            assert!(
                serve.0.try_wait().unwrap().is_none(),
                "{asker} has ended it"
            );
            // We may not have been told of it before.
            for id in peer.members().peers.keys() {
                peer.ring(*id, 0).unwrap();
            }
            load(64) == number
        });
    }
}

#[test]
fn a_signal_ends_who_waits_for_an_answer() {
    let directory = tempfile::tempdir().unwrap();
    let socket = path_in(directory.path(), "socket");
    let _server = server(&["-S", &socket, "--size=1M", "--vectors=1"]);
    let limit = limit_argument();
    let ping = Command::new(PROGRAM)
        .args(["ping", "--join", &socket, "77", "-s", "4K", "-t", &limit])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let peer = Peer::join(&socket).unwrap();
    wait_until("it has asked", || {
        peer.load32(4096, Ordering::Acquire).unwrap() != 0
    });
    kill_process(Pid::from_child(&ping), Signal::INT).unwrap();
    let ended = ping.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let text = stderr(&ended);
    assert!(text.contains("before there was an answer"), "{text}");
}
