// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What another endpoint cannot do by standing still, by taking long, or by malice.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{mpsc, Arc};
use std::time::Duration;

use ivshmem::Memory;
use ivshmem_channel::{Channel, Member, MultiReceiver, Presence, Sender};
use ivshmem_peer::Peer;
use rustix::fs::{mkfifoat, Mode, CWD};
use rustix::process::Signal;
use test_limit::{limit, wait_until};

use super::{connect, echo, expect_echo, forwarded, free_port, serve, MUCH};
use crate::end::{End, Machines};
use crate::{path_in, PROGRAM};

#[test]
fn an_end_that_stands_still_holds_up_no_other_end() {
    let machines = Machines::new("1M");
    let served = serve(echo);
    let serving = |name| {
        let command = format!("forward --name {name} --allow 127.0.0.1:{served}");
        let mut end = machines.start(&command);
        end.expect("joined");
        end
    };
    let (far, _third) = (serving("far"), serving("third"));
    let [port, other] = [(); 2].map(|()| free_port());
    let mut near = machines.start(&format!(
        "forward -L {port}:far:127.0.0.1:{served} -L {other}:third:127.0.0.1:{served}"
    ));
    for _ in 0..2 {
        near.expect("here");
    }
    let mut stuck: Vec<_> = (0..8).map(|_| connect(port)).collect();
    for stream in &mut stuck {
        expect_echo(stream, 1);
    }
    far.signal(Signal::STOP);
    // More than the ring holds.
    for stream in &mut stuck {
        let _ = stream.set_write_timeout(Some(Duration::from_millis(50)));
        while stream.write(&[0; 1 << 16]).is_ok() {}
    }
    expect_echo(&mut connect(other), MUCH);
    // Until it counts as gone.
    for mut stream in stuck {
        assert!(std::io::copy(&mut stream, &mut std::io::sink()).is_err());
    }
    far.signal(Signal::CONT);
    near.end();
}

#[test]
fn an_end_that_stood_still_for_long_begins_anew_with_the_others() {
    let machines = Machines::new("1M");
    let (over, ended) = mpsc::channel();
    let served = serve(move |stream| {
        echo(stream);
        // The test may be done with it.
        let _ = over.send(());
    });
    let target = format!("127.0.0.1:{served}");
    let [port, back, listened] = [(); 3].map(|()| free_port());
    let mut far = machines.start(&format!(
        "forward --name far --allow {target} --allow-listen {listened} -L {back}:near:{target}"
    ));
    far.expect("joined");
    let mut near = machines.start(&format!(
        "forward --name near --allow {target} -L {port}:far:{target} -R {listened}:far:{target}"
    ));
    near.expect("here");
    near.expect("listening");
    far.expect("here");
    let mut before = [port, back, listened].map(connect);
    for stream in &mut before {
        expect_echo(stream, 1);
    }
    far.signal(Signal::STOP);
    near.expect("left");
    far.signal(Signal::CONT);
    near.expect("here");
    // What is opened now is not taken for what was open before, and that is over at both endpoints.
    expect_echo(&mut connect(port), MUCH);
    near.expect("listening");
    for port in [back, listened] {
        expect_echo(&mut connect(port), MUCH);
    }
    for mut stream in before {
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    for _ in 0..6 {
        ended.recv_timeout(limit()).unwrap();
    }
    near.end();
    far.end();
}

/// Names that are to be looked up.
const NAMES: usize = 200;

/// An endpoint with these options, where to look up a name is to wait for ever.
fn start_without_names(machines: &Machines, options: &str) -> End {
    // It waits for somebody who writes into it.
    let hosts = path_in(machines.directory.path(), "hosts");
    mkfifoat(CWD, &hosts, Mode::RUSR | Mode::WUSR).unwrap();
    let mut program = Command::new("unshare");
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    program.args(["--mount", "sh", "-c", script, &hosts, PROGRAM]);
    let command = format!("forward {options} --join {}", machines.socket);
    let mut end = End::of(program, &command);
    end.expect("joined");
    end
}

#[test]
fn names_that_take_long_to_look_up_take_few_threads() {
    let machines = Machines::new("1M");
    let served = serve(echo);
    let mut far = start_without_names(&machines, "--name far --allow *:*");
    let [port, slow] = [(); 2].map(|()| free_port());
    let mut near = machines.start(&format!(
        "forward -L {port}:far:127.0.0.1:{served} -L {slow}:far:some.name:80"
    ));
    near.expect("here");
    let waiting: Vec<_> = (0..NAMES).map(|_| connect(slow)).collect();
    wait_until("all names are to be looked up", || {
        far.status()["connections"]["opened"] == NAMES
    });
    assert!(far.threads() < NAMES / 2, "{} threads", far.threads());
    expect_echo(&mut connect(port), MUCH);
    drop(waiting);
}

#[test]
fn names_to_listen_at_that_take_long_to_look_up_take_few_threads() {
    let machines = Machines::new("1M");
    let mut far = start_without_names(&machines, "--name far --allow-listen *:*");
    let mut stranger = Stranger::new(&open(&machines));
    far.expect("here");
    let mut receiver = stranger.me.multi_receiver().unwrap();
    for _ in 0..NAMES {
        for (kind, text) in [(LISTEN, "some.name:80"), (OPEN, "127.0.0.1:1")] {
            stranger.ask(0, kind, text);
        }
        // By then it has begun with the first one, too.
        assert_eq!(answer(&mut receiver)[12], RESET);
    }
    assert!(far.threads() < NAMES / 2, "{} threads", far.threads());
}

/// What a hostile end knows of another one.
struct Victim {
    sender: Sender<Arc<Peer>>,
    incarnation: u32,
}

impl Victim {
    /// The one in a slot, if there is one.
    fn of(me: &Member<Arc<Peer>>, slot: u32) -> Option<Self> {
        match me.presence(slot).unwrap() {
            Presence::Present { incarnation, .. } => Some(Self {
                sender: me.sender(slot).unwrap(),
                incarnation,
            }),
            _ => None,
        }
    }
}

/// The kind of a message that asks for a connection.
const OPEN: u8 = 1;
/// The kind of a message that asks to listen.
const LISTEN: u8 = 7;
/// The kind of a message that a connection is over.
const RESET: u8 = 6;

/// The next message of others.
fn answer(receiver: &mut MultiReceiver<Arc<Peer>>) -> Vec<u8> {
    let message = receiver.next(Some(limit())).unwrap();
    let message = message.expect("an answer");
    let mut bytes = vec![0; message.len()];
    message.read(0, &mut bytes).unwrap();
    message.done().unwrap();
    bytes
}

/// The channel of endpoints that are there.
fn open(machines: &Machines) -> Channel<Arc<Peer>> {
    let link = Arc::new(Peer::join(&machines.socket).unwrap());
    Channel::open(link, 0).unwrap()
}

/// One in slot 1, without a name, who says to the endpoint in slot 0 what it likes.
struct Stranger {
    me: Member<Arc<Peer>>,
    victim: Victim,
}

impl Stranger {
    fn new(channel: &Channel<Arc<Peer>>) -> Self {
        let me = channel.join(1, 0).unwrap();
        let mut publisher = me.publisher(1).unwrap();
        publisher.publish(&me.incarnation().to_le_bytes()).unwrap();
        let victim = Victim::of(&me, 0).unwrap();
        Self { me, victim }
    }

    /// Sends a message of this kind, about a connection of this number that this one has opened.
    fn ask(&mut self, number: u32, kind: u8, text: &str) {
        let words = [self.victim.incarnation, self.me.incarnation(), number];
        let words = words.map(u32::to_le_bytes).concat();
        let frame = [&words, &[kind, 1, 0, 0][..], text.as_bytes()].concat();
        self.victim.sender.send(&frame, Some(limit())).unwrap();
    }
}

#[test]
fn each_of_many_connections_that_are_refused_at_once_is_told_so() {
    /// As many as there can be with an endpoint.
    const MOST: u32 = 1024;
    let machines = Machines::new("4M");
    let mut far = machines.start("forward --name far");
    far.expect("joined");
    let mut stranger = Stranger::new(&open(&machines));
    far.expect("here");
    let mut receiver = stranger.me.multi_receiver().unwrap();
    far.signal(Signal::STOP);
    for number in 0..MOST {
        stranger.ask(number, OPEN, "127.0.0.1:1");
    }
    far.signal(Signal::CONT);
    let mut told = BTreeSet::new();
    while told.len() < MOST as usize {
        let bytes = answer(&mut receiver);
        assert_eq!(bytes[12], RESET);
        told.insert(bytes[8..12].to_vec());
    }
    far.end();
}

#[test]
fn an_end_that_comes_again_and_again_and_hears_nothing_takes_no_memory_without_end() {
    const TIMES: u32 = 400;
    const REQUESTS: u32 = 128;
    let machines = Machines::new("1M");
    let mut far = machines.start("forward --name far");
    far.expect("joined");
    let channel = open(&machines);
    // Longer than what is cut off, so that few answers fill the ring.
    let target = format!("{}:1", "x".repeat(900));
    let ask = |times| {
        for _ in 0..times {
            let mut stranger = Stranger::new(&channel);
            for number in 0..REQUESTS {
                stranger.ask(number, OPEN, &target);
            }
        }
    };
    ask(1);
    far.expect("failed");
    let before = far.memory();
    ask(TIMES);
    let after = far.memory();
    assert!(after < before + (32 << 20), "{before} bytes, then {after}");
    far.end();
}

#[test]
fn an_end_that_sends_anything_stops_nobody() {
    let machines = Machines::new("1M");
    let served = serve(echo);
    let (port, mut near, mut far) = forwarded(&machines, served);
    let link = Arc::new(Peer::join(&machines.socket).unwrap());
    let channel = Channel::open(link, 0).unwrap();
    let slots: Vec<_> = (0..channel.plan().layout().slots()).collect();
    let me = channel.join_any(&slots, 0).unwrap();
    me.publisher(me.slot() as usize)
        .unwrap()
        .publish(&me.incarnation().to_le_bytes())
        .unwrap();
    for end in [&mut near, &mut far] {
        end.expect("here");
    }
    let mut victims: Vec<_> = slots
        .iter()
        .filter(|slot| **slot != me.slot())
        .filter_map(|slot| Victim::of(&me, *slot))
        .collect();
    assert_eq!(victims.len(), 2);
    let mut good = connect(port);
    let mut seed = 1_u64;
    let mut random = move || {
        // xorshift64
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..5_000 {
        for victim in &mut victims {
            let mut frame = Vec::new();
            frame.extend(victim.incarnation.to_le_bytes());
            frame.extend(me.incarnation().to_le_bytes());
            // Few connections, so that it hits some.
            frame.extend((random() as u32 % 4).to_le_bytes());
            frame.extend([random() as u8 % 11, random() as u8 % 3, 0, 0]);
            let body = match random() % 4 {
                0 => format!("127.0.0.1:{served}").into_bytes(),
                1 => (random() as u32).to_le_bytes().into(),
                2 => vec![b'x'; random() as usize % 2000],
                _ => Vec::new(),
            };
            frame.extend(body);
            frame.truncate(frame.len() - random() as usize % 2 * (random() as usize % frame.len()));
            victim.sender.send(&frame, Some(limit())).unwrap();
        }
        if round % 500 == 0 {
            expect_echo(&mut good, 100_000);
        }
    }
    expect_echo(&mut good, MUCH);
    drop(good);
    let status = far.status();
    assert!(status["invalid"].as_u64() > Some(0), "{status}");
    near.end();
    far.end();
}

#[test]
fn an_end_that_can_hear_nobody_comes_back_when_the_channel_is_made_anew() {
    let machines = Machines::new("1M");
    let mut near = machines.start("forward --endpoints 2");
    near.expect("joined");
    let link = Arc::new(Peer::join(&machines.socket).unwrap());
    let channel = Channel::open(link.clone(), 0).unwrap();
    let me = channel.join_any(&[0, 1], 0).unwrap();
    let mark = b"where the message is in the memory";
    let mut sender = me.sender(1 - me.slot()).unwrap();
    sender.send(mark, Some(limit())).unwrap();
    let mut memory = vec![0; 1 << 20];
    link.read(0, &mut memory).unwrap();
    let found = memory.windows(mark.len()).position(|bytes| bytes == mark);
    let next = (found.unwrap() + mark.len()).next_multiple_of(8);
    link.store64(next as u64, u64::MAX, Ordering::Release)
        .unwrap();
    for _ in 0..2 {
        // First that this one is not heard, then that it was the last one.
        let reason = near.expect("failed")["reason"].to_string();
        assert!(reason.contains("--overwrite"), "{reason}");
    }
    Channel::create(link, 0, channel.plan().layout()).unwrap();
    near.expect("joined");
    near.end();
}
