// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A sender is stopped before each of its accesses to the memory; another one comes, and is stopped too, before each of its
//! own; the first goes on for a few accesses meanwhile, or a third one comes. Whatever the others still do, each message of
//! the last one arrives, whole, once and in its order. And receivers in the same way.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use common::gate::gated;
use common::{memory, Polled};
use ivshmem::Memory;
use ivshmem_channel::ring::{Consumer, Fault, Handover, Place, Producer};

const PLACE: Place = Place {
    offset: 0,
    size: 1024,
    generation: 7,
    lane: None,
};
/// Messages of the last one: several times round the ring.
const MESSAGES: u8 = 60;

fn ours() -> Result<(), Fault> {
    Ok(())
}

fn attach<M: Memory>(memory: M, before: Handover) -> Result<Producer<M>, Fault> {
    Producer::attach(memory, PLACE, before, &mut ours)
}

fn message(who: u8, number: u8) -> Vec<u8> {
    let mut bytes = vec![who; 9 + usize::from(number) * 7 % 80];
    bytes[1..].fill(number);
    bytes
}

/// Sends messages, which are published together; `false` if there is no room for all of them.
fn send<M: Memory>(to: &mut Producer<M>, who: u8, numbers: &[u8]) -> Result<bool, Fault> {
    for number in numbers {
        let bytes = message(who, *number);
        let Some(space) = to.reserve(bytes.len())? else {
            to.publish()?;
            return Ok(false);
        };
        space.bytes.write(to.memory(), 0, &bytes)?;
        to.commit(space, bytes.len())?;
    }
    to.publish()?;
    Ok(true)
}

/// Takes all that has arrived.
fn drain(from: &mut Consumer<&Polled>, into: &mut Vec<Vec<u8>>) -> Result<(), Fault> {
    while let Some(record) = from.peek()? {
        let mut bytes = Vec::new();
        let len = record.len;
        record.bytes.append(from.memory(), len, &mut bytes)?;
        from.confirm()?;
        from.advance(record);
        into.push(bytes);
    }
    from.release().map(drop)
}

/// What a program asks that has the slot as long as that is said.
fn has(slot: &AtomicBool) -> impl FnMut() -> Result<(), Fault> + '_ {
    || match slot.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(Fault::Replaced),
    }
}

/// What happens while the second is stopped.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    /// The first goes on for so many accesses.
    First(usize),
    /// Another one takes the second's place.
    Third,
}

/// Sends messages of the last one, and takes what has arrived when there is no room: the ring is full at the end.
fn last_one<M: Memory>(
    new: &mut Producer<M>,
    from: &mut Consumer<&Polled>,
    into: &mut Vec<Vec<u8>>,
    numbers: std::ops::Range<u8>,
) -> Result<(), Fault> {
    for number in numbers {
        while !send(new, b'n', &[number])? {
            let before = into.len();
            drain(from, into)?;
            if into.len() == before {
                return Err(Fault::Corrupt("there is no room"));
            }
        }
    }
    Ok(())
}

/// The memory as an earlier making of the channel left it, in which a sender was replaced.
fn used() -> std::fs::File {
    let file = memory();
    let end = Polled::of(&file, 0);
    let place = Place {
        generation: 6,
        ..PLACE
    };
    let mut from = Consumer::attach(&*end, place, &mut ours).unwrap();
    let mut received = Vec::new();
    for _ in 0..3 {
        let mut to = Producer::attach(&*end, place, Handover::MayRun, &mut ours).unwrap();
        for _ in 0..7 {
            assert_eq!(send(&mut to, b'u', &[0, 1]), Ok(true));
            drain(&mut from, &mut received).unwrap();
        }
    }
    file
}

/// Whether both were stopped where they were to be. The first has sent so many messages before, or is stopped from its coming
/// on.
fn takes_over(
    first_at: usize,
    second_at: usize,
    meanwhile: Meanwhile,
    before: Option<u8>,
) -> (bool, bool) {
    let file = used();
    let ((first, first_gate), (second, second_gate)) = (gated(&file, 0), gated(&file, 1));
    let (third, watcher) = (Polled::of(&file, 2), Polled::of(&file, 3));
    let mut received = Vec::new();
    let mut from = Consumer::attach(&*watcher, PLACE, &mut ours).unwrap();
    let mut old = before.map(|_| attach(Arc::clone(&first), Handover::Ended).unwrap());
    for _ in 0..before.unwrap_or(0) {
        assert_eq!(send(old.as_mut().unwrap(), b'b', &[0, 1]), Ok(true));
        drain(&mut from, &mut received).unwrap();
    }
    received.clear();
    let [first_has_slot, has_slot] = [(); 2].map(|()| AtomicBool::new(true));
    let at = format!("stops {first_at} and {second_at}, {meanwhile:?}, {before:?} before");
    std::thread::scope(|scope| {
        let (goes_on, first_stopped) = first_gate.start(scope, first_at, || {
            let mut may = has(&first_has_slot);
            let old = old.map_or_else(
                || Producer::attach(first, PLACE, Handover::Ended, &mut may),
                Ok,
            );
            old.map_or(vec![], |mut old| {
                [[0, 1], [2, 3]]
                    .map(|numbers| send(&mut old, b'o', &numbers))
                    .to_vec()
            })
        });
        first_has_slot.store(false, Ordering::SeqCst);
        let (comes, second_stopped) = second_gate.start(scope, second_at, || {
            let mut may = has(&has_slot);
            Producer::attach(second, PLACE, Handover::MayRun, &mut may)
        });
        let mut result = Ok(());
        let mut replaces = None;
        match meanwhile {
            Meanwhile::First(steps) if first_stopped => drop(first_gate.go_on(Some(steps))),
            Meanwhile::First(_) => {}
            Meanwhile::Third => {
                has_slot.store(false, Ordering::SeqCst);
                let mut new = attach(third, Handover::MayRun);
                result = new
                    .as_mut()
                    .map_err(|fault| *fault)
                    .and_then(|new| last_one(new, &mut from, &mut received, 0..MESSAGES / 2));
                replaces = new.ok();
            }
        }
        second_gate.set(|s| s.stopped = false);
        let came = comes.join().unwrap();
        let replaced = came.as_ref().err().copied();
        let second_sent = came.and_then(|mut new| match &mut replaces {
            Some(third) => {
                result = result.and_then(|()| {
                    last_one(third, &mut from, &mut received, MESSAGES / 2..MESSAGES)
                });
                send(&mut new, b's', &[0, 1]).map(drop)
            }
            None => {
                result = last_one(&mut new, &mut from, &mut received, 0..MESSAGES / 2);
                // Before anything is judged, or it would stand still for ever.
                first_gate.set(|s| s.stopped = false);
                drop(first_gate.wait(|s| s.ended));
                result = result.and_then(|()| {
                    last_one(&mut new, &mut from, &mut received, MESSAGES / 2..MESSAGES)
                });
                Ok(())
            }
        });
        first_gate.set(|s| s.stopped = false);
        let went_on = goes_on.join().unwrap();
        if let (Some(third), Some(_)) = (&mut replaces, replaced) {
            result = result
                .and_then(|()| last_one(third, &mut from, &mut received, MESSAGES / 2..MESSAGES));
        }
        // Who comes later knows all places that are left out.
        let result = result.and_then(|()| {
            let mut late = attach(&*watcher, Handover::Ended)?;
            let numbers = MESSAGES..2 * MESSAGES;
            last_one(&mut late, &mut from, &mut received, numbers)?;
            drain(&mut from, &mut received)
        });
        assert_eq!(result, Ok(()), "{at}: {second_sent:?}, {went_on:?}");
        // What a successor does looks wrong to who was replaced.
        let second = matches!(
            second_sent,
            Ok(()) | Err(Fault::Replaced | Fault::Corrupt(_))
        );
        assert!(second, "{at}: {second_sent:?}");
        let of = |who| received.iter().filter(move |m| m[0] == who).cloned();
        let all: Vec<_> = (0..2 * MESSAGES)
            .map(|number| message(b'n', number))
            .collect();
        assert_eq!(of(b'n').collect::<Vec<_>>(), all, "{at}");
        for who in [b'o', b's'] {
            for (number, found) in (0..).zip(of(who)) {
                assert_eq!(found, message(who, number), "{at}");
            }
        }
        let sent = went_on.iter().filter(|sent| **sent == Ok(true)).count();
        assert_eq!(of(b'o').count(), 2 * sent, "{at}: {went_on:?}");
        (first_stopped, second_stopped)
    })
}

fn each(meanwhile: Meanwhile, before: Option<u8>) {
    let firsts = (0..).take_while(|first_at| {
        let seconds =
            (0..).take_while(|second_at| takes_over(*first_at, *second_at, meanwhile, before).1);
        assert!(seconds.count() > 8);
        takes_over(*first_at, usize::MAX, meanwhile, before).0
    });
    assert!(firsts.count() > 10);
}

#[test]
fn a_sender_goes_on_while_its_successor_takes_over() {
    for before in [None, Some(0), Some(20)] {
        for steps in 1..4 {
            each(Meanwhile::First(steps), before);
        }
    }
}

#[test]
fn a_successor_is_replaced_while_it_takes_over() {
    for before in [None, Some(0), Some(20)] {
        each(Meanwhile::Third, before);
    }
}

/// Takes one message after the other, and releases each, until there is none; says what it took whole.
fn take_all<M: Memory>(from: &mut Consumer<M>) -> (Vec<Vec<u8>>, Result<(), Fault>) {
    let mut taken = Vec::new();
    let mut run = || {
        while let Some(record) = from.peek()? {
            let mut bytes = Vec::new();
            let len = record.len;
            record.bytes.append(from.memory(), len, &mut bytes)?;
            from.confirm()?;
            taken.push(bytes);
            from.advance(record);
            from.release()?;
        }
        Ok(())
    };
    let result = run();
    (taken, result)
}

/// As [`takes_over`], of receivers, while the sender keeps the ring full.
fn receives_after(first_at: usize, second_at: usize, steps: usize) -> (bool, bool) {
    const FIRST: u8 = 8;
    let file = used();
    let ((first, first_gate), (second, second_gate)) = (gated(&file, 0), gated(&file, 1));
    let sender = Polled::of(&file, 2);
    let mut to = attach(&*sender, Handover::Ended).unwrap();
    let mut old = Consumer::attach(first, PLACE, &mut ours).unwrap();
    for number in 0..FIRST {
        assert_eq!(send(&mut to, b'n', &[number]), Ok(true));
    }
    let at = format!("stops {first_at} and {second_at}, {steps} steps");
    std::thread::scope(|scope| {
        let (goes_on, first_stopped) = first_gate.start(scope, first_at, || take_all(&mut old));
        let (comes, second_stopped) = second_gate.start(scope, second_at, || {
            Consumer::attach(second, PLACE, &mut ours)
        });
        if first_stopped {
            first_gate.go_on(Some(steps));
        }
        second_gate.set(|s| s.stopped = false);
        let mut received = Vec::new();
        let mut result = comes.join().unwrap().and_then(|mut new| {
            for number in FIRST..100 {
                while !send(&mut to, b'n', &[number])? {
                    let (taken, ended) = take_all(&mut new);
                    ended?;
                    if taken.is_empty() {
                        return Err(Fault::Corrupt("there is no room"));
                    }
                    received.extend(taken);
                }
            }
            Ok(new)
        });
        first_gate.set(|s| s.stopped = false);
        let (before, ended) = goes_on.join().unwrap();
        let result = result.as_mut().map_err(|fault| *fault).and_then(|new| {
            let (taken, ended) = take_all(new);
            received.extend(taken);
            ended
        });
        assert_eq!(result, Ok(()), "{at}");
        // What a successor does looks wrong to who was replaced.
        let replaced = matches!(ended, Err(Fault::Replaced | Fault::Corrupt(_)));
        assert!(replaced || ended == Ok(()), "{at}: {ended:?}");
        let messages = |numbers: std::ops::Range<u8>| {
            numbers
                .map(|number| message(b'n', number))
                .collect::<Vec<_>>()
        };
        let count = before.len() as u8;
        assert_eq!(before, messages(0..count), "{at}");
        let first = 100 - received.len() as u8;
        assert!(first <= count, "{at}: {first} {count}");
        assert_eq!(received, messages(first..100), "{at}");
        (first_stopped, second_stopped)
    })
}

#[test]
fn a_receiver_goes_on_while_its_successor_takes_over() {
    for steps in 1..4 {
        let firsts = (0..).take_while(|first_at| {
            let seconds =
                (0..).take_while(|second_at| receives_after(*first_at, *second_at, steps).1);
            assert!(seconds.count() > 2);
            receives_after(*first_at, usize::MAX, steps).0
        });
        assert!(firsts.count() > 20);
    }
}
