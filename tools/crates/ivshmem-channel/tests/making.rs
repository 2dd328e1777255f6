// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Programs that come at the same time make one channel.

mod common;

use std::sync::atomic::Ordering;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use common::{layout, memory, Polled};
use ivshmem::Memory;
use ivshmem_channel::{Channel, Error, Layout};

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
