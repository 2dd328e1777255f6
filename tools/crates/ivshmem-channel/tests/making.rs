// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Programs that come at the same time make one channel.

mod common;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use common::gate::gated;
use common::{layout, memory, Polled};
use ivshmem::Memory;
use ivshmem_channel::{Channel, Error, Layout};

/// How a channel begins while it is made.
const MARK: u32 = u32::from_le_bytes(*b"IVSM");

/// What was there before: nothing, a channel that is corrupt, garbage.
const BEFORE: [&[u8]; 3] = [&[0; 4096], b"IVSHCHAN and what is not", &[0xff; 4096]];

#[test]
fn nobody_who_has_joined_finds_the_channel_made_anew() {
    const ROUNDS: usize = 300;
    for round in 0..ROUNDS {
        let file = memory();
        let ends = [0, 1, 2].map(|id| Polled::of(&file, id));
        ends[0].write(0, BEFORE[round % BEFORE.len()]).unwrap();
        let together = Barrier::new(ends.len());
        std::thread::scope(|scope| {
            let programs = (0u32..).zip(&ends).map(|(slot, end)| {
                let together = &together;
                scope.spawn(move || {
                    together.wait();
                    Channel::create_or_join(&**end, 0, &layout(), |channel| channel.join(slot, 0))
                })
            });
            // All come, and only then are they looked at.
            let programs: Vec<_> = programs.collect();
            let members = programs.into_iter().map(|program| program.join().unwrap());
            let members: Vec<_> = members.collect();
            for member in members {
                member.unwrap().beat().unwrap();
            }
        });
    }
}

#[test]
fn one_that_died_while_it_made_the_channel_is_not_waited_for_for_ever() {
    let file = memory();
    let end = Polled::of(&file, 0);
    end.write(0, b"IVSMdied").unwrap();
    let found = Channel::open(&*end, 0);
    assert!(matches!(found, Err(Error::NotAChannel(_))), "{found:?}");
    let begin = Instant::now();
    Channel::open_or_create(&*end, 0, &layout()).unwrap();
    assert!(
        begin.elapsed() >= Duration::from_secs(1),
        "it may have been slow only"
    );
}

/// Two make it anew at the same time, of whom one is slow.
#[test]
fn one_that_makes_it_anew_waits_for_another_that_is_at_it() {
    const SLOW: Duration = Duration::from_millis(50);
    let generation =
        |channel: Result<Channel<Arc<Polled>>, Error>| channel.unwrap().plan().generation();
    let mut waits = 0;
    for stop in 0.. {
        let file = memory();
        let (first, gate) = gated(&file, 0);
        let second = Polled::of(&file, 1);
        let gate = &gate;
        let stopped = std::thread::scope(|scope| {
            let (first, stopped) = gate.start(scope, stop, move || {
                generation(Channel::create(first, 0, &layout()))
            });
            let is_at_it = second.load32(0, Ordering::Acquire) == Ok(MARK);
            let begin = Instant::now();
            let again = Arc::clone(&second);
            let second = scope.spawn(move || generation(Channel::create(again, 0, &layout())));
            std::thread::sleep(SLOW);
            gate.set(|s| s.stopped = false);
            first.join().unwrap();
            let in_time = begin.elapsed() < Duration::from_secs(1);
            let last = second.join().unwrap();
            // On a machine that is busy it may have been slower than that.
            if is_at_it && in_time {
                waits += 1;
                let found = Channel::open(Polled::of(&file, 2), 0);
                assert_eq!(generation(found), last, "stop {stop}");
            }
            stopped
        });
        if !stopped {
            break;
        }
    }
    assert!(waits > 0);
}

#[test]
fn one_that_makes_it_anew_is_not_stopped_by_whoever_made_it() {
    let file = memory();
    let end = Polled::of(&file, 0);
    for before in BEFORE.into_iter().chain([&b"IVSMdied"[..]]) {
        end.write(0, before).unwrap();
        let one = Channel::create(&*end, 0, &layout()).unwrap();
        let other = Layout::duplex(4096);
        let two = Channel::create(&*end, 0, &other).unwrap();
        assert_ne!(one.plan().generation(), two.plan().generation());
        let word = end.load32(12, Ordering::Acquire).unwrap();
        assert_eq!(word, two.plan().generation());
        let found = Channel::open_or_create(&*end, 0, &layout());
        assert!(matches!(found, Err(Error::OtherLayout)), "{found:?}");
    }
}
