// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A sender or publisher is stopped before each of its accesses to the memory while it comes, is replaced, and goes on when a
//! word that it has looked at has the same value again: because messages are alike, or because the same place is left out as
//! in an earlier channel.

mod common;

use std::fs::File;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use common::gate::gated;
use common::{memory, Polled};
use ivshmem::Memory;
use ivshmem_channel::ring::{Consumer, Fault, Handover, Place, Producer};
use ivshmem_channel::topic::{Reader, Topic, Writer};

/// Its records do not go into the ring's size: any word of one is at the ring's start sooner or later.
const MESSAGE: [u8; 32] = [0xaa; 32];

/// A ring in the channel of this generation.
fn place(generation: u32) -> Place {
    Place {
        offset: 0,
        size: 192,
        generation,
        lane: None,
    }
}

fn attach<M: Memory>(memory: M, generation: u32, before: Handover) -> Producer<M> {
    Producer::attach(memory, place(generation), before, &mut || Ok(())).unwrap()
}

fn consumer<M: Memory>(memory: M, generation: u32) -> Consumer<M> {
    Consumer::attach(memory, place(generation), &mut || Ok(())).unwrap()
}

/// Sends a message; `false` if there is no room.
fn send<M: Memory>(to: &mut Producer<M>) -> bool {
    let space = to.reserve(MESSAGE.len()).unwrap();
    if let Some(space) = space {
        space.bytes.write(to.memory(), 0, &MESSAGE).unwrap();
        to.commit(space, MESSAGE.len()).unwrap();
    }
    to.publish().unwrap();
    space.is_some()
}

/// Takes all messages, which have to be whole; returns how many.
fn drain<M: Memory>(from: &mut Consumer<M>, at: &str) -> u32 {
    let mut taken = 0;
    while let Some(record) = from.peek().unwrap_or_else(|fault| panic!("{at}: {fault}")) {
        let mut bytes = Vec::new();
        let len = record.len;
        record.bytes.append(from.memory(), len, &mut bytes).unwrap();
        assert_eq!(bytes, MESSAGE, "{at}: torn");
        from.advance(record);
        taken += 1;
    }
    from.release().unwrap();
    taken
}

/// Sends so many messages, with as much in the ring as has room; returns how many were taken.
fn fill<M: Memory>(
    to: &mut Producer<M>,
    from: &mut Consumer<&Polled>,
    count: u32,
    at: &str,
) -> u32 {
    let mut taken = 0;
    for _ in 0..count {
        while !send(to) {
            let some = drain(from, at);
            assert!(some > 0, "{at}: there is no room");
            taken += some;
        }
    }
    taken
}

/// What a program asks while it comes.
type May<'a> = &'a mut dyn FnMut() -> Result<(), Fault>;

/// A program comes, stops before its access number `stop`, and loses its slot; then `meanwhile`, in which it goes on when the
/// argument is called. Whether it was stopped where it was to be.
fn is_late(
    file: &File,
    stop: usize,
    come: impl FnOnce(Arc<Polled>, May<'_>) -> Result<(), Fault> + Send,
    meanwhile: impl FnOnce(&dyn Fn()),
) -> bool {
    let (memory, gate) = gated(file, 0);
    let has_slot = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let (comes, stopped) = gate.start(scope, stop, || {
            come(memory, &mut || match has_slot.load(Ordering::SeqCst) {
                true => Ok(()),
                false => Err(Fault::Replaced),
            })
        });
        has_slot.store(false, Ordering::SeqCst);
        let goes_on = || {
            gate.set(|s| s.stopped = false);
            drop(gate.wait(|s| s.ended));
        };
        let result = catch_unwind(AssertUnwindSafe(|| meanwhile(&goes_on)));
        // Also if that has panicked, or nothing would ever end.
        goes_on();
        result.unwrap_or_else(|error| resume_unwind(error));
        // What a successor does looks wrong to who was replaced.
        let came = comes.join().unwrap();
        let fine = matches!(came, Ok(()) | Err(Fault::Replaced | Fault::Corrupt(_)));
        assert!(fine, "{came:?}");
        stopped
    })
}

/// Another sender was there in the channel of generation `earlier`, which is this one or not.
fn sender_is_late(stop: usize, earlier: u32, sent: u32) -> bool {
    let at = format!("stop {stop}, after one in {earlier}, {sent} sent");
    let file = memory();
    let watcher = Polled::of(&file, 2);
    // The ring's start was in the middle of a message at last, and so is what may still be written.
    let mut before = attach(&*watcher, earlier, Handover::Ended);
    let mut from = consumer(&*watcher, earlier);
    fill(&mut before, &mut from, 18, &at);
    drain(&mut from, &at);
    before.reserve(MESSAGE.len()).unwrap().unwrap();
    let come =
        |memory, may: May<'_>| Producer::attach(memory, place(7), Handover::MayRun, may).map(drop);
    is_late(&file, stop, come, |goes_on| {
        let mut new = attach(&*watcher, 7, Handover::MayRun);
        let mut from = consumer(&*watcher, 7);
        let mut taken = fill(&mut new, &mut from, sent, &at);
        goes_on();
        taken += drain(&mut from, &at);
        taken += fill(&mut new, &mut from, 12, &at);
        taken += drain(&mut from, &at);
        assert_eq!(taken, sent + 12, "{at}");
    })
}

#[test]
fn a_sender_that_comes_late_spoils_no_message() {
    for (earlier, least) in [(6, 20), (7, 10)] {
        for sent in 0..12 {
            let late = |stop: &usize| sender_is_late(*stop, earlier, sent);
            let stops = (0..).take_while(late).count();
            assert!(stops > least, "{stops}");
        }
    }
}

/// Where a ring has the places that are left out.
const PLACES: u64 = 64;

/// As above: the second one is stopped while it writes its first message, where somebody was in an earlier channel too.
fn place_is_taken_back(stop: usize) -> bool {
    let at = format!("stop {stop}");
    let file = memory();
    let watcher = Polled::of(&file, 2);
    let mut earlier = attach(&*watcher, 6, Handover::Ended);
    earlier.reserve(MESSAGE.len()).unwrap().unwrap();
    drop(attach(&*watcher, 6, Handover::MayRun));
    // It can be any of the places there.
    let word = watcher.load64(PLACES, Ordering::Relaxed).unwrap();
    for index in 0..8 {
        let at = PLACES + 8 * index;
        watcher.store64(at, word, Ordering::Relaxed).unwrap();
    }
    let come =
        |memory, may: May<'_>| Producer::attach(memory, place(7), Handover::Ended, may).map(drop);
    is_late(&file, stop, come, |goes_on| {
        let mut second = attach(&*watcher, 7, Handover::MayRun);
        let space = second.reserve(MESSAGE.len()).unwrap().unwrap();
        drop(attach(&*watcher, 7, Handover::MayRun));
        goes_on();
        let mut last = attach(&*watcher, 7, Handover::Ended);
        let mut from = consumer(&*watcher, 7);
        let mut taken = 0;
        for _ in 0..20 {
            taken += fill(&mut last, &mut from, 1, &at);
            let other = [0xff; MESSAGE.len()];
            space.bytes.write(second.memory(), 0, &other).unwrap();
        }
        taken += drain(&mut from, &at);
        assert_eq!(taken, 20, "{at}");
    })
}

#[test]
fn a_sender_that_comes_late_takes_back_no_place_that_is_left_out() {
    let stops = (0..).take_while(|stop| place_is_taken_back(*stop));
    assert!(stops.count() > 20);
}

fn topic(generation: u32) -> Topic {
    Topic {
        offset: 0,
        buffers: 5,
        size: 64,
        generation,
    }
}

fn writer<M: Memory>(memory: M, generation: u32, before: Handover) -> Writer<M> {
    Writer::attach(memory, topic(generation), before, &mut || Ok(())).unwrap()
}

/// A publisher that is stopped while it writes its first value, in the first buffer.
fn stopped_publisher(file: &File, generation: u32) -> impl FnOnce() {
    let (memory, gate) = gated(file, 1);
    let mut writer = writer(memory, generation, Handover::MayRun);
    // Until it has said that it is writing, and before the bytes.
    gate.set(|s| s.left = Some(4));
    let its_gate = Arc::clone(&gate);
    let runs = std::thread::spawn(move || {
        let published = writer.publish(&[0xff; 64]);
        its_gate.set(|s| s.ended = true);
        published
    });
    assert!(gate.wait(|s| s.stopped || s.ended).stopped);
    move || {
        gate.set(|s| s.stopped = false);
        let published = runs.join().unwrap();
        assert_eq!(published, Err(Fault::Replaced));
    }
}

fn buffer_is_taken_back(stop: usize, published: u8) -> bool {
    let at = format!("stop {stop}, {published} published");
    let file = memory();
    let watcher = Polled::of(&file, 2);
    let earlier = stopped_publisher(&file, 6);
    drop(writer(&*watcher, 6, Handover::MayRun));
    earlier();
    let come =
        |memory, may: May<'_>| Writer::attach(memory, topic(7), Handover::Ended, may).map(drop);
    is_late(&file, stop, come, |goes_on| {
        let second_goes_on = stopped_publisher(&file, 7);
        drop(writer(&*watcher, 7, Handover::MayRun));
        goes_on();
        let mut last = writer(&*watcher, 7, Handover::Ended);
        for number in 0..=published {
            last.publish(&[number; 64]).unwrap();
        }
        second_goes_on();
        let mut value = Vec::new();
        let mut reader = Reader::new(&*watcher, topic(7)).unwrap();
        let found = reader.newest(&mut value).unwrap();
        assert!(found.is_some(), "{at}: the newest value is not there");
        assert_eq!(value, [published; 64], "{at}: torn");
    })
}

#[test]
fn a_publisher_that_comes_late_takes_back_no_buffer_that_is_left_out() {
    for published in 0..5 {
        let stops = (0..).take_while(|stop| buffer_is_taken_back(*stop, published));
        assert!(stops.count() > 10);
    }
}
