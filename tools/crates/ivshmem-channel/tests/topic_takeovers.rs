// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A publisher is stopped before each of its accesses to the memory; another one comes, and is stopped too, before each of
//! its own; the first one goes on for a few accesses meanwhile. Whatever it still does, no value of its successor is torn,
//! and readers find what is there.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use common::gate::gated;
use common::{memory, Polled};
use ivshmem::Memory;
use ivshmem_channel::ring::{Fault, Handover};
use ivshmem_channel::topic::{Reader, Topic, Writer};

const TOPIC: Topic = Topic {
    offset: 0,
    buffers: 5,
    size: 64,
    generation: 7,
};
/// Accesses that the first one makes while the second is stopped.
const STEPS: std::ops::Range<usize> = 1..4;

fn attach<M: Memory>(memory: M, before: Handover) -> Result<Writer<M>, Fault> {
    Writer::attach(memory, TOPIC, before, &mut || Ok(()))
}

fn value(who: u8, number: u8) -> [u8; 64] {
    let mut value = [who; 64];
    value[32..].fill(number);
    value
}

/// What a program asks that has the slot as long as that is said.
fn has(slot: &AtomicBool) -> impl FnMut() -> Result<(), Fault> + '_ {
    || match slot.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(Fault::Replaced),
    }
}

/// The newest value, for one who comes now.
fn newest(memory: &Polled) -> Vec<u8> {
    let mut buffer = Vec::new();
    let mut reader = Reader::new(memory, TOPIC).unwrap();
    let found = reader.newest(&mut buffer).unwrap();
    found.map(|_| buffer).unwrap_or_default()
}

/// Whether both were stopped where they were to be. The first has published so many values before, or is stopped from its
/// coming on, in memory that was used before.
fn takes_over(first_at: usize, second_at: usize, steps: usize, before: Option<u8>) -> (bool, bool) {
    let file = memory();
    let used = Topic {
        generation: 6,
        ..TOPIC
    };
    let earlier = Polled::of(&file, 3);
    let mut earlier = Writer::attach(&*earlier, used, Handover::Ended, &mut || Ok(())).unwrap();
    for number in 0..8 {
        earlier.publish(&value(b'u', number)).unwrap();
    }
    let ((first, first_gate), (second, second_gate)) = (gated(&file, 0), gated(&file, 1));
    let watcher = Polled::of(&file, 2);
    let mut old = before.map(|_| attach(Arc::clone(&first), Handover::Ended).unwrap());
    for number in 0..before.unwrap_or(0) {
        old.as_mut().unwrap().publish(&value(b'o', number)).unwrap();
    }
    let has_slot = AtomicBool::new(true);
    let at = format!("stops {first_at} and {second_at}, {steps} steps, {before:?} values");
    std::thread::scope(|scope| {
        let (goes_on, first_stopped) = first_gate.start(scope, first_at, || {
            let mut may = has(&has_slot);
            let old = old.map_or_else(
                || Writer::attach(first, TOPIC, Handover::Ended, &mut may),
                Ok,
            );
            old.and_then(|mut old| old.publish(&value(b'o', 99)))
        });
        has_slot.store(false, Ordering::SeqCst);
        let (comes, second_stopped) =
            second_gate.start(scope, second_at, || attach(second, Handover::MayRun));
        if first_stopped {
            first_gate.go_on(Some(steps));
        }
        second_gate.set(|s| s.stopped = false);
        let new = comes.join().unwrap();
        // Once into each buffer that is left, and once more.
        let found = new.map(|mut new| {
            [0, 1, 2, 3, 4, 5].map(|number| {
                let published = new.publish(&value(b'n', number));
                published.map(|_| newest(&watcher))
            })
        });
        // Before anything is judged, or it would stand still for ever.
        first_gate.set(|s| s.stopped = false);
        let went_on = goes_on.join().unwrap();
        for (number, found) in (0..).zip(found.unwrap()) {
            assert_eq!(found.unwrap(), value(b'n', number), "{at}");
        }
        assert!(
            matches!(went_on, Ok(0) | Err(Fault::Replaced)),
            "{at}: {went_on:?}"
        );
        assert_eq!(newest(&watcher), value(b'n', 5), "{at}");
        (first_stopped, second_stopped)
    })
}

#[test]
fn a_publisher_goes_on_while_its_successor_takes_over() {
    // From its coming on; in the first round, in which its buffers are empty; later, when they hold values.
    for before in [None, Some(1), Some(7)] {
        for steps in STEPS {
            let firsts = (0..).take_while(|first_at| {
                let seconds = (0..)
                    .take_while(|second_at| takes_over(*first_at, *second_at, steps, before).1);
                assert!(seconds.count() > 10);
                takes_over(*first_at, usize::MAX, steps, before).0
            });
            assert!(firsts.count() > 8);
        }
    }
}

/// A reader looks while somebody takes over, who has not found the newest value yet, and may end before that.
#[test]
fn a_reader_finds_the_newest_value_also_if_it_looked_while_somebody_came() {
    const NEWEST: u64 = 8;
    const BUFFER: u64 = 128;
    for ends in [false, true] {
        let file = memory();
        let watcher = Polled::of(&file, 2);
        let mut first = attach(Polled::of(&file, 0), Handover::Ended).unwrap();
        first.publish(&value(b'o', 0)).unwrap();
        let mut reader = Reader::new(&*watcher, TOPIC).unwrap();
        assert!(reader.has_news().unwrap());
        // By the second one's first step the topic is its own.
        let newest = watcher.load64(NEWEST, Ordering::Relaxed).unwrap() + (1 << 32);
        watcher.store64(NEWEST, newest, Ordering::Relaxed).unwrap();
        let mut buffer = Vec::new();
        assert_eq!(reader.newest(&mut buffer), Ok(None));
        assert!(!reader.has_news().unwrap(), "there is nothing to read");
        match ends {
            false => watcher.store64(BUFFER, newest, Ordering::Relaxed).unwrap(),
            // The third one publishes nothing.
            true => drop(attach(Polled::of(&file, 1), Handover::MayRun).unwrap()),
        }
        assert!(reader.has_news().unwrap());
        assert!(reader.newest(&mut buffer).unwrap().is_some());
        assert_eq!(buffer, value(b'o', 0));
        assert!(!reader.has_news().unwrap());
    }
}
