// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A program is stopped before each of its accesses to the memory in turn, as a paused machine is, is replaced by the
//! rules, and goes on. Whatever it still does, no message is torn, lost or delivered twice, and no ring is corrupt.

mod common;

use std::fs::File;
use std::io::Write;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use common::gate::Gate;
use common::Polled;
use ivshmem::{Doorbell, Memory, Waiter};
use ivshmem_channel::{
    ByteWriter, Channel, Error, Layout, Member, MultiReceiver, Receiver, Sender,
};

const RING: u32 = 1024;
const SOON: Option<Duration> = Some(Duration::from_millis(1));
/// Nothing takes this long.
const LIMIT: Option<Duration> = Some(Duration::from_secs(60));

/// Each way to send a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// One by one.
    Single,
    /// Several at a time.
    Batch,
    /// In place, by code that has the address of the memory.
    InPlace,
    /// As bytes of a stream.
    Stream,
    /// Into a lane of a ring buffer with several senders.
    Lane,
}

/// Slot 0 sends to slot 1.
fn layout(way: Way) -> Layout {
    let layout = match way {
        Way::Lane => Layout::new(3).multi_ring(1, RING),
        _ => Layout::duplex(RING),
    };
    layout.heartbeat(Duration::from_millis(10), Duration::from_millis(20))
}

/// A link whose user can be stopped.
#[derive(Debug)]
struct Victim {
    link: Arc<Polled>,
    gate: Gate,
}

impl Victim {
    fn of(file: &File, id: u32) -> Arc<Self> {
        Arc::new(Self {
            link: Polled::of(file, id),
            gate: Gate::default(),
        })
    }

    fn link(&self) -> &Polled {
        self.gate.pass();
        &self.link
    }
}

ivshmem::forward_memory!({} Victim, Victim::link);

impl Doorbell for Victim {
    fn peer_id(&self) -> u32 {
        self.link.peer_id()
    }
    fn vectors(&self) -> u32 {
        self.link.vectors()
    }
    fn ring(&self, peer: u32, vector: u32) -> ivshmem::Result<()> {
        self.link.ring(peer, vector)
    }
}

impl Waiter for Victim {
    fn wait(&self, vectors: u64, timeout: Option<Duration>) -> ivshmem::Result<u64> {
        self.link.wait(vectors, timeout)
    }
    fn wait_word(&self, at: u64, value: u32, time: Option<Duration>) -> ivshmem::Result<bool> {
        self.link.wait_word(at, value, time)
    }
}

/// Message `number` of the program with this tag: its length and its bytes depend on both.
fn message(tag: u8, number: u32) -> Vec<u8> {
    let len = 9 + number.wrapping_mul(2_654_435_761) as usize % 200;
    let mut bytes = vec![tag; len];
    bytes[1..5].copy_from_slice(&number.to_le_bytes());
    for (at, byte) in bytes.iter_mut().enumerate().skip(5) {
        *byte = tag.wrapping_add(number as u8).wrapping_add(at as u8);
    }
    bytes
}

/// Who sent this message, and its number.
fn identify(bytes: &[u8]) -> (u8, u32) {
    let tag = bytes[0];
    let number = u32::from_le_bytes(bytes[1..5].try_into().unwrap());
    assert_eq!(bytes, message(tag, number), "torn");
    (tag, number)
}

fn channel<L: ivshmem::Link + Clone>(link: L) -> Channel<L> {
    Channel::open(link, 0).unwrap()
}

/// Takes a slot whose program is silent, however long this one has to wait for its turn.
fn join(file: &File, slot: u32) -> Member<Arc<Polled>> {
    let channel = channel(Polled::of(file, 2));
    let member = channel.joining().timeout(LIMIT.unwrap()).join(slot, 0);
    member.unwrap()
}

/// The receiving end of slot 1.
enum Inbox<L: ivshmem::Link + Clone> {
    One(Receiver<L>),
    Several(MultiReceiver<L>),
}

impl<L: ivshmem::Link + Clone> Inbox<L> {
    fn of(member: &Member<L>, way: Way) -> Self {
        match way {
            Way::Lane => Self::Several(member.multi_receiver().unwrap()),
            _ => Self::One(member.receiver(0).unwrap()),
        }
    }

    /// Takes a message, if there is one soon.
    fn receive(&mut self, into: &mut Vec<(u8, u32)>) -> bool {
        let mut bytes = Vec::new();
        let some = match self {
            Self::One(from) => from.receive(&mut bytes, SOON).unwrap(),
            Self::Several(from) => from.receive(&mut bytes, SOON).unwrap().is_some(),
        };
        if some {
            into.push(identify(&bytes));
        }
        some
    }
}

/// Runs `work` as the program that is stopped before access number `stop`; then `meanwhile`; lets it go on; waits for
/// its end. `false` if it has ended before.
fn stop_at<T: Send, L>(
    victim: &Arc<Victim>,
    stop: usize,
    work: impl FnOnce(Member<Arc<Victim>>) -> T + Send,
    slot: u32,
    meanwhile: impl FnOnce() -> L,
) -> Option<(T, L)> {
    std::thread::scope(|scope| {
        let runs = scope.spawn(|| {
            let member = channel(Arc::clone(victim)).join(slot, 0).unwrap();
            victim.gate.set(|s| s.left = Some(stop));
            let result = catch_unwind(AssertUnwindSafe(|| work(member)));
            victim.gate.set(|s| s.ended = true);
            result.unwrap_or_else(|error| resume_unwind(error))
        });
        let stopped = victim.gate.wait(|s| s.stopped || s.ended).stopped;
        // Also if it panics, or nothing would ever end.
        let between = stopped.then(|| catch_unwind(AssertUnwindSafe(meanwhile)));
        victim.gate.set(|s| s.stopped = false);
        let between = between.map(|between| between.unwrap_or_else(|error| resume_unwind(error)));
        let result = runs.join().unwrap();
        Some((result, between?))
    })
}

/// Writes a message where it will be, in two steps.
fn write_in_place(
    sender: &mut Sender<Arc<Victim>>,
    memory: &Victim,
    bytes: &[u8],
) -> Result<(), Error> {
    let reservation = sender.reserve(bytes.len(), SOON)?;
    let mut rest = bytes;
    for range in reservation.ranges() {
        let (part, others) = rest.split_at((range.end - range.start) as usize);
        let (first, last) = part.split_at(part.len() / 2);
        memory.write(range.start, first)?;
        memory.write(range.start + first.len() as u64, last)?;
        rest = others;
    }
    reservation.commit(bytes.len())
}

/// What ended a stream.
fn ended(error: std::io::Error) -> Error {
    let error = error.into_inner().expect("an error of the channel");
    *error.downcast().unwrap()
}

/// Sends until somebody else has the slot; returns how many messages were sent for sure.
fn send_all(member: &Member<Arc<Victim>>, tag: u8, way: Way) -> u32 {
    let mut sure = 0;
    let messages = (0..12).map(|number| (number, message(tag, number)));
    // One, two or three at a time.
    let is_last = |number| number % 3 != 0;
    let run = || -> Result<(), Error> {
        let mut sender = member.sender(1)?;
        if way == Way::Stream {
            let mut stream = ByteWriter::new(sender, SOON);
            for (number, bytes) in messages {
                stream.write_all(&bytes).map_err(ended)?;
                if is_last(number) {
                    stream.flush().map_err(ended)?;
                    sure = number + 1;
                }
            }
            return Ok(());
        }
        for (number, bytes) in messages {
            match way {
                Way::Single => sender.send(&bytes, SOON)?,
                Way::InPlace => write_in_place(&mut sender, member.link(), &bytes)?,
                _ => sender.queue(&bytes, SOON)?,
            }
            if is_last(number) {
                sender.flush()?;
            }
            if is_last(number) || way == Way::Single {
                sure = number + 1;
            }
        }
        Ok(())
    };
    match run() {
        Ok(()) | Err(Error::Replaced | Error::TimedOut) => {}
        Err(other) => panic!("{other:?}"),
    }
    sure
}

fn send<L: ivshmem::Link + Clone>(to: &mut Sender<L>, numbers: std::ops::Range<u32>) {
    for number in numbers {
        to.send(&message(b's', number), LIMIT).unwrap();
    }
}

/// Numbers of the messages with this tag.
fn of(received: &[(u8, u32)], tag: u8) -> Vec<u32> {
    let ours = received.iter().filter(|(from, _)| *from == tag);
    ours.map(|(_, number)| *number).collect()
}

/// `more`: how many messages the successor sends through the ring before the stopped one goes on.
fn stopped_sender(stop: usize, more: u32, way: Way) -> bool {
    let file = common::memory();
    Channel::create(Polled::of(&file, 9), 0, &layout(way)).unwrap();
    let reader = channel(Polled::of(&file, 1)).join(1, 0).unwrap();
    let mut from = Inbox::of(&reader, way);
    let mut received = Vec::new();
    let victim = Victim::of(&file, 0);
    let meanwhile = || {
        let member = join(&file, 0);
        let mut to = member.sender(1).unwrap();
        for number in 0..more {
            // As much as has room stays in the ring.
            while let Err(error) = to.send(&message(b's', number), Some(Duration::ZERO)) {
                assert!(matches!(error, Error::TimedOut), "stop {stop}: {error:?}");
                assert!(from.receive(&mut received), "stop {stop}");
            }
        }
        (member, to)
    };
    let work = |member| send_all(&member, b'v', way);
    let Some((sure, (_member, mut to))) = stop_at(&victim, stop, work, 0, meanwhile) else {
        return false;
    };
    while from.receive(&mut received) {}
    for number in more..more + 3 {
        send(&mut to, number..number + 1);
        while from.receive(&mut received) {}
    }
    let successor = of(&received, b's');
    assert_eq!(successor, Vec::from_iter(0..more + 3), "stop {stop}");
    let victim = of(&received, b'v');
    assert_eq!(
        victim,
        Vec::from_iter(0..victim.len() as u32),
        "stop {stop}"
    );
    assert!(
        victim.len() >= sure as usize,
        "stop {stop}: {victim:?} of {sure}"
    );
    true
}

/// Each stop, in each of these ways.
fn each_stop(more: u32, ways: &[Way]) {
    for way in ways {
        let stops = (0..).take_while(|stop| stopped_sender(*stop, more, *way));
        let stops = stops.count();
        println!("{way:?}: {stops} stops");
        assert!(stops > 100, "{stops}");
    }
}

#[test]
fn a_sender_goes_on_while_its_successors_messages_are_in_the_ring() {
    each_stop(3, &[Way::Batch, Way::Lane]);
}

#[test]
fn a_sender_goes_on_when_its_successor_has_gone_round_the_ring() {
    each_stop(60, &[Way::Batch, Way::Lane]);
}

#[test]
fn in_whichever_way_a_sender_sends_it_sends_nothing_more() {
    each_stop(3, &[Way::Single, Way::InPlace, Way::Stream]);
}

#[test]
fn in_whichever_way_a_sender_sends_it_spoils_nothing_when_its_successor_has_gone_round() {
    each_stop(60, &[Way::Single, Way::InPlace, Way::Stream]);
}

/// Receives until somebody else has the slot.
fn receive_all<L: ivshmem::Link + Clone>(member: &Member<L>) -> Vec<(u8, u32)> {
    let mut received = Vec::new();
    let mut run = || -> Result<(), Error> {
        let mut from = member.receiver(0)?;
        let mut bytes = Vec::new();
        while from.receive(&mut bytes, SOON)? {
            received.push(identify(&bytes));
        }
        Ok(())
    };
    match run() {
        Ok(()) | Err(Error::Replaced) => {}
        Err(other) => panic!("{other:?}"),
    }
    received
}

fn stopped_receiver(stop: usize) -> bool {
    let file = common::memory();
    Channel::create(Polled::of(&file, 9), 0, &layout(Way::Single)).unwrap();
    let writer = channel(Polled::of(&file, 1)).join(0, 0).unwrap();
    let mut to = writer.sender(1).unwrap();
    send(&mut to, 0..7);
    let mut received = Vec::new();
    let victim = Victim::of(&file, 0);
    let meanwhile = || {
        let member = join(&file, 1);
        let mut from = Inbox::of(&member, Way::Single);
        for number in 7..40 {
            while from.receive(&mut received) {}
            send(&mut to, number..number + 1);
        }
        (member, from)
    };
    let work = |member| receive_all(&member);
    let Some((before, (_member, mut from))) = stop_at(&victim, stop, work, 1, meanwhile) else {
        return false;
    };
    send(&mut to, 40..45);
    while from.receive(&mut received) {}
    send(&mut to, 45..48);
    while from.receive(&mut received) {}
    let (before, after) = (of(&before, b's'), of(&received, b's'));
    assert_eq!(
        before,
        Vec::from_iter(0..before.len() as u32),
        "stop {stop}"
    );
    // What was not released comes again, and nothing is left out.
    let first = after[0];
    assert!(first as usize <= before.len(), "stop {stop}");
    assert_eq!(after, Vec::from_iter(first..48), "stop {stop}");
    true
}

#[test]
fn a_receiver_goes_on_while_its_successor_receives() {
    let stops = (0..).take_while(|stop| stopped_receiver(*stop)).count();
    println!("{stops} stops");
    assert!(stops > 50, "{stops}");
}
