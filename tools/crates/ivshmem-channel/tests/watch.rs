// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Descriptors for event loops, on the real server.

mod common;
mod peers;

use std::os::fd::AsFd;
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

use common::{layout, memory, Polled, GATHERS, RING};
use ivshmem::SharedFile;
use ivshmem_channel::{rpc, select, Cancel, Channel, Error, Layout, Presence, Selectable, Watch};
use ivshmem_peer::Peer;
use peers::{members, peers, Members};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use test_limit::limit;

const ROUNDS: u32 = 1000;
const NOW: Option<Duration> = Some(Duration::ZERO);
/// A heartbeat that no test lives to see: only a ring can be what makes a descriptor ready.
const MINUTE: Duration = Duration::from_secs(60);

fn is_ready(watch: &impl AsFd, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).unwrap();
    let mut fds = [PollFd::new(watch, PollFlags::IN)];
    poll(&mut fds, Some(&limit)).unwrap() == 1
}

/// An event loop, which sleeps where there was nothing.
struct Loop(Watch);

impl Loop {
    fn new() -> Self {
        Self(Watch::new().unwrap())
    }

    fn sleep(&self, on: &mut impl Selectable) {
        if self.0.arm(on).unwrap() {
            assert!(is_ready(&self.0, limit()));
            self.0.awake(on).unwrap();
        }
    }
}

/// Calls `act` for each round, in a thread of its own, and `react` after it began: `react` sleeps, mostly. A ring that it
/// does not hear costs it the longest sleep that there is, a second.
fn in_turns(mut act: impl FnMut(u32) + Send, mut react: impl FnMut(u32)) {
    let (done, wait) = mpsc::channel();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for round in 0..ROUNDS {
                std::thread::sleep(Duration::from_micros(200));
                act(round);
                wait.recv_timeout(limit()).unwrap();
            }
        });
        for round in 0..ROUNDS {
            react(round);
            done.send(()).unwrap();
        }
    });
    assert!(begin.elapsed() < limit(), "{:?}", begin.elapsed());
}

#[test]
fn a_descriptor_tells_of_messages_of_one() {
    let Members { members, _region } = members();
    let mut sender = members[0].sender(1).unwrap();
    let mut receiver = members[1].receiver(0).unwrap();
    let turns = Loop::new();
    let mut message = Vec::new();
    in_turns(
        |round| sender.send(&round.to_le_bytes(), None).unwrap(),
        |round| {
            while !receiver.receive(&mut message, NOW).unwrap() {
                turns.sleep(&mut receiver);
            }
            assert_eq!(message, round.to_le_bytes());
        },
    );
}

#[test]
fn a_descriptor_tells_of_messages_of_many() {
    let Members { members, _region } = members();
    let mut senders = [0, 1].map(|slot: usize| members[slot].sender(GATHERS).unwrap());
    let mut receiver = members[GATHERS as usize].multi_receiver().unwrap();
    let turns = Loop::new();
    let mut message = [0; 4];
    in_turns(
        |round| {
            let sender = &mut senders[round as usize % 2];
            sender.send(&round.to_le_bytes(), None).unwrap();
        },
        |round| {
            let found = loop {
                match receiver.receive_into(&mut message, NOW).unwrap() {
                    Some(found) => break found,
                    None => turns.sleep(&mut receiver),
                }
            };
            assert_eq!((found, message), ((round % 2, 4), round.to_le_bytes()));
        },
    );
}

#[test]
fn a_descriptor_tells_of_room() {
    let Members { members, _region } = members();
    let mut sender = members[0].sender(1).unwrap();
    let mut receiver = members[1].receiver(0).unwrap();
    // One fits at a time.
    let message = vec![7; RING as usize / 2];
    sender.send(&message, NOW).unwrap();
    let turns = Loop::new();
    in_turns(
        |_| {
            let found = receiver.next(Some(limit())).unwrap().unwrap();
            assert_eq!(found.to_vec().unwrap(), message);
            found.done().unwrap();
        },
        |_| loop {
            match sender.send(&message, NOW) {
                Ok(()) => break,
                Err(Error::TimedOut) => turns.sleep(&mut sender.room(message.len())),
                Err(other) => panic!("{other}"),
            }
        },
    );
    // The same in one thread, by select.
    let full = select(&mut [&mut sender.room(message.len())], NOW).unwrap();
    assert!(full.is_empty());
    let both = select(&mut [&mut sender.room(message.len()), &mut receiver], None).unwrap();
    assert_eq!(both, [1]);
    receiver.next(NOW).unwrap().unwrap().done().unwrap();
    let both = select(&mut [&mut sender.room(message.len()), &mut receiver], None).unwrap();
    assert_eq!(both, [0]);
}

#[test]
fn a_descriptor_tells_of_values() {
    let (peers, _region) = peers();
    let [first, second, _] = &peers;
    let layout = Layout::new(2).topic(0, 4, 64).heartbeat(MINUTE, 2 * MINUTE);
    let one = Channel::create(first, 0, &layout).unwrap().join(0, 0);
    let mut publisher = one.unwrap().publisher(0).unwrap();
    let two = Channel::open(second, 0).unwrap().join(1, 0).unwrap();
    let mut subscriber = two.subscriber(0).unwrap();
    assert_eq!(subscriber.longest(), publisher.longest());
    let turns = Loop::new();
    let mut value = Vec::new();
    in_turns(
        |round| publisher.publish(&round.to_le_bytes()).unwrap(),
        |round| {
            while subscriber.newest(&mut value, NOW).unwrap().is_none() {
                turns.sleep(&mut subscriber);
            }
            assert_eq!(value, round.to_le_bytes());
        },
    );
}

#[test]
fn a_descriptor_tells_of_requests() {
    let (peers, _region) = peers();
    let [first, second, _] = &peers;
    let layout = rpc::layout(1, 4096, 4096).heartbeat(MINUTE, 2 * MINUTE);
    let channel = Channel::create(first, 0, &layout).unwrap();
    let mut server = rpc::Server::join(&channel, 0).unwrap();
    let channel = Channel::open(second, 0).unwrap();
    let mut client = rpc::Client::join(&channel, 0).unwrap();
    let turns = Loop::new();
    in_turns(
        |round| {
            let answer = client.call(&round.to_le_bytes(), Some(limit())).unwrap();
            assert_eq!(answer, (round + 1).to_le_bytes());
        },
        |round| {
            let request = loop {
                match server.next(NOW).unwrap() {
                    Some(request) => break request,
                    None => turns.sleep(&mut server),
                }
            };
            assert_eq!(request.body, round.to_le_bytes());
            let answer = (round + 1).to_le_bytes();
            assert!(server.reply(&request, &answer).unwrap());
        },
    );
}

#[test]
fn disarmed_it_is_quiet_and_armed_again_it_hears() {
    let Members { members, _region } = members();
    let [one, two, _] = &members;
    let mut sender = one.sender(1).unwrap();
    let mut receiver = two.receiver(0).unwrap();
    let watch = Watch::new().unwrap();
    assert!(!is_ready(&watch, Duration::ZERO));
    assert!(watch.arm(&mut receiver).unwrap());
    watch.disarm(&receiver).unwrap();
    watch.disarm(&receiver).unwrap();
    sender.send(b"one", None).unwrap();
    // Longer than the longest sleep of any wait.
    assert!(!is_ready(&watch, Duration::from_millis(1200)));
    assert!(!watch.arm(&mut receiver).unwrap());
    receiver.next(NOW).unwrap().unwrap().done().unwrap();
    assert!(watch.arm(&mut receiver).unwrap());
    sender.send(b"two", None).unwrap();
    assert!(is_ready(&watch, limit()));
    assert_eq!(receiver.next(NOW).unwrap().unwrap().len(), 3);
}

#[test]
fn a_descriptor_also_serves_those_who_cannot_be_rung_and_keeps_them_alive() {
    let file = memory();
    let [one, two] = [0, 1].map(|id| Polled::of(&file, id));
    let channel = Channel::create(one, 0, &layout()).unwrap();
    let one = channel.join(0, 0).unwrap();
    let two = Channel::open(two, 0).unwrap().join(1, 0).unwrap();
    let mut receiver = two.receiver(0).unwrap();
    let turns = Loop::new();
    let begin = Instant::now();
    // Longer than a program may be silent.
    while begin.elapsed() < Duration::from_millis(300) {
        assert!(receiver.next(NOW).unwrap().is_none());
        turns.sleep(&mut receiver);
        assert!(matches!(one.presence(1), Ok(Presence::Present { .. })));
    }
    one.sender(1).unwrap().send(b"hello", None).unwrap();
    while receiver.next(NOW).unwrap().is_none() {
        turns.sleep(&mut receiver);
    }
}

#[test]
fn what_ends_a_wait_ends_an_event_loop() {
    let Members { members, _region } = members();
    let mut receiver = members[1].receiver(0).unwrap();
    let cancel = Cancel::new().unwrap();
    receiver.set_cancel(&cancel);
    let watch = Watch::new().unwrap();
    assert!(watch.arm(&mut receiver).unwrap());
    cancel.cancel();
    assert!(is_ready(&watch, limit()));
    let armed = watch.arm(&mut receiver);
    assert!(matches!(armed, Err(Error::Cancelled)), "{armed:?}");
}

#[test]
fn what_ended_waits_before_makes_no_descriptor_ready() {
    let file = memory();
    let link = SharedFile::of(file).unwrap().with_interval(MINUTE);
    let layout = layout().heartbeat(MINUTE, 2 * MINUTE);
    let channel = Channel::create(Arc::new(link), 0, &layout).unwrap();
    let member = channel.join(1, 0).unwrap();
    let mut receiver = member.receiver(0).unwrap();
    let [before, now] = [(); 2].map(|()| Cancel::new().unwrap());
    let watch = Watch::new().unwrap();
    receiver.set_cancel(&before);
    assert!(watch.arm(&mut receiver).unwrap());
    receiver.set_cancel(&now);
    before.cancel();
    assert!(watch.arm(&mut receiver).unwrap());
    assert!(!is_ready(&watch, Duration::from_millis(100)));
    now.cancel();
    assert!(is_ready(&watch, Duration::ZERO));
    watch.disarm(&receiver).unwrap();
    assert!(!is_ready(&watch, Duration::ZERO));
}

#[test]
fn an_error_is_no_reason_to_wait() {
    let Members { members, _region } = members();
    let mut receiver = members[1].receiver(0).unwrap();
    let watch = Watch::new().unwrap();
    assert!(watch.arm(&mut receiver).unwrap());
    let peer = Peer::join(_region.socket()).unwrap();
    Channel::open(&peer, 0).unwrap().reset().unwrap();
    assert!(!watch.arm(&mut receiver).unwrap());
    let found = receiver.next(NOW).map(drop);
    assert!(matches!(found, Err(Error::Reset)), "{found:?}");
}

/// Only the interval makes the descriptor ready: nobody rings, and there is no message.
#[test]
fn where_nobody_can_ring_it_is_time_to_look_after_the_links_interval() {
    let file = memory();
    let end = |interval| {
        let end = SharedFile::of(file.try_clone().unwrap()).unwrap();
        Arc::new(end.with_interval(interval))
    };
    let layout = layout().heartbeat(MINUTE, 2 * MINUTE);
    Channel::create(end(MINUTE), 0, &layout).unwrap();
    let is_ready_within = |slot, interval, time| {
        let member = Channel::open(end(interval), 0).unwrap();
        let member = member.join(slot, 0).unwrap();
        let mut receiver = member.receiver(1 - slot).unwrap();
        let watch = Watch::new().unwrap();
        assert!(watch.arm(&mut receiver).unwrap());
        is_ready(&watch, time)
    };
    assert!(!is_ready_within(0, MINUTE, Duration::from_millis(100)));
    assert!(is_ready_within(1, Duration::ZERO, limit()));
}
