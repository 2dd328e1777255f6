// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How long 1 KiB takes from a program of one host to one of another: by Zenoh alone, and by memory, bridge, Zenoh, bridge and
//! memory. Both in one run, in turns, so that both see the same machine. Hosts are network namespaces: as root,
//! `make bench-bridge`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use host::Program;
use link::{Hosts, ADDRESSES};
use rustix::time::{clock_gettime, ClockId};
use server::{path_in, server, Server};
use zenoh::qos::CongestionControl;
use zenoh::{Config, Session, Wait};

#[allow(dead_code)]
#[path = "../../ivshmemctl/tests/host/end.rs"]
mod end;
#[allow(dead_code)]
#[path = "../tests/hosts/host.rs"]
mod host;
#[allow(dead_code)]
#[path = "../tests/hosts/link.rs"]
mod link;
#[allow(dead_code)]
#[path = "../../ivshmemctl/tests/host/netns.rs"]
mod netns;
#[path = "../../ivshmemctl/tests/host/server.rs"]
mod server;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ivshmem-bridge");

const BYTES: usize = 1024;
/// Turns of each, and messages in a turn, of which the first ones do not count.
const TURNS: usize = 10;
const MESSAGES: usize = 550;
const WARM_UP: usize = 50;
/// Pause between two messages: each finds all asleep.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a message may take.
const LIMIT: Duration = Duration::from_secs(60);
const KEY: &str = "bench/plain";

fn main() {
    let words: Vec<_> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("send") => send(),
        Some("receive") => receive(),
        _ => compare(),
    }
}

fn compare() {
    let hosts = Hosts::new("");
    let mut receiving = Role::start(&hosts.second, "receive");
    let mut sending = Role::start(&hosts.first, "send");
    let topic = |direction| {
        format!("topic = [{{ key = \"bench/bridge\", kind = \"messages\", policy = \"block\", {direction} }}]")
    };
    let [mut sender, mut reader] = [hosts.first.program(), hosts.second.program()];
    let mut from = hosts.first.bridge(&topic("to-zenoh = 0"));
    let mut to = hosts.second.bridge(&topic("from-zenoh = 1"));
    from.expect("joined");
    to.expect("joined");
    while reader
        .reader
        .next(&mut Vec::new(), Some(PAUSE))
        .unwrap()
        .is_none()
    {
        sender.writer.publish(&stamped()).unwrap();
    }
    let (mut plain, mut bridged) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        sending.tell();
        plain.extend((0..MESSAGES).map(|_| receiving.hear()).skip(WARM_UP));
        bridged.extend(turn(&mut sender, &mut reader).into_iter().skip(WARM_UP));
    }
    println!("one way, {BYTES} bytes, microseconds   tenth percentile   median");
    let [plain, bridged] =
        [("Zenoh alone", plain), ("with bridges", bridged)].map(|(name, mut times)| {
            times.sort_unstable();
            let [low, median] =
                [times.len() / 10, times.len() / 2].map(|at| times[at] as f64 / 1000.0);
            println!("{name:<37} {low:>16.1} {median:>8.1}");
            [low, median]
        });
    println!(
        "{:<37} {:>16.2} {:>8.2}",
        "ratio",
        bridged[0] / plain[0],
        bridged[1] / plain[1]
    );
}

/// The times of messages through the memories.
fn turn(sender: &mut Program, reader: &mut Program) -> Vec<u64> {
    let mut times = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = Vec::new();
            while times.len() < MESSAGES {
                reader
                    .reader
                    .next(&mut value, Some(LIMIT))
                    .unwrap()
                    .expect("it arrives");
                times.push(age(&value));
            }
        });
        for _ in 0..MESSAGES {
            sender.writer.publish(&stamped()).unwrap();
            thread::sleep(PAUSE);
        }
    });
    times
}

/// This program in a role, within a host.
struct Role {
    child: Child,
    words: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl Role {
    /// Returns once it is ready. Zenoh's threads are those of a process, and so is the namespace.
    fn start(host: &host::Host, role: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .arg(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = host.act(|| command.spawn().unwrap());
        let mut role = Self {
            words: child.stdin.take().unwrap(),
            told: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        role.hear();
        role
    }

    /// Has it send once more.
    fn tell(&mut self) {
        self.words.write_all(b"\n").unwrap();
    }

    fn hear(&mut self) -> u64 {
        let mut line = String::new();
        self.told.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn session(endpoints: &str) -> Session {
    let text = format!(
        r#"{{ mode: "peer", {endpoints}, scouting: {{ multicast: {{ enabled: false }} }} }}"#
    );
    zenoh::open(Config::from_json5(&text).unwrap())
        .wait()
        .unwrap()
}

/// Sends a turn of messages for each line that is told.
fn send() {
    let session = session(&format!(
        r#"connect: {{ endpoints: ["tcp/{}:7448"] }}, listen: {{ endpoints: [] }}"#,
        ADDRESSES[1]
    ));
    let publisher = session
        .declare_publisher(KEY)
        .congestion_control(CongestionControl::Block);
    let publisher = publisher.wait().unwrap();
    while !publisher.matching_status().wait().unwrap().matching() {
        thread::sleep(PAUSE);
    }
    println!("0");
    for _ in std::io::stdin().lines() {
        for _ in 0..MESSAGES {
            publisher.put(stamped()).wait().unwrap();
            thread::sleep(PAUSE);
        }
    }
}

/// Prints how long each message took.
fn receive() {
    let session = session(&format!(
        r#"listen: {{ endpoints: ["tcp/{}:7448"] }}"#,
        ADDRESSES[1]
    ));
    let (tell, heard) = mpsc::channel();
    let subscriber = session.declare_subscriber(KEY).callback(move |sample| {
        let _ = tell.send(age(&sample.payload().to_bytes()));
    });
    let _subscriber = subscriber.wait().unwrap();
    println!("0");
    for time in heard {
        println!("{time}");
    }
}

/// Nanoseconds of a clock that all processes of the machine have.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // CAST: Neither is negative on this clock.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A message with the time.
fn stamped() -> Vec<u8> {
    let mut bytes = vec![0; BYTES];
    bytes[..8].copy_from_slice(&now().to_le_bytes());
    bytes
}

/// How long ago a message was stamped.
fn age(message: &[u8]) -> u64 {
    let stamp = message.first_chunk().expect("a stamped message");
    now() - u64::from_le_bytes(*stamp)
}
