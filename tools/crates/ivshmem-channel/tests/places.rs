// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Whatever places of a ring a peer says are left out: a sender gets around them or says that a message is too long, and the
//! longest one that it names fits in an empty ring.

mod common;

use std::sync::atomic::Ordering;

use common::{memory, Polled};
use ivshmem::Memory;
use ivshmem_channel::ring::{Consumer, Fault, Handover, Place, Producer};

const GENERATION: u32 = 7;
const ROUNDS: u32 = 20_000;

/// Random numbers, by xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32 % limit
    }

    /// A multiple of 8 below `size`.
    fn at(&mut self, size: u32) -> u32 {
        self.below(size / 8) * 8
    }
}

/// An empty ring of which eight places at most are left out, with the head anywhere.
fn scribble(memory: &Polled, size: u32, random: &mut Random) {
    let put = |at, word| memory.store32(at, word, Ordering::Relaxed).unwrap();
    let lap = [0, 5, u32::MAX / size - 1][random.below(3) as usize];
    let head = lap * size + random.at(size);
    put(0, GENERATION);
    put(8, head);
    put(128, GENERATION);
    put(136, head);
    for index in 0..8 {
        let longest = [8, 32, size][random.below(3) as usize];
        put(64 + index * 8, random.at(size) ^ GENERATION);
        put(68 + index * 8, random.at(longest) ^ GENERATION);
    }
    for at in (0..size).step_by(8) {
        memory
            .store64(256 + u64::from(at), 0, Ordering::Relaxed)
            .unwrap();
    }
}

/// Takes all that was sent.
fn drain(from: &mut Consumer<&Polled>) {
    while let Some(record) = from.peek().unwrap() {
        from.advance(record);
    }
    from.release().unwrap();
}

#[test]
fn a_sender_gets_around_whatever_is_left_out() {
    let file = memory();
    let end = Polled::of(&file, 0);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut sent, mut armed, mut too_long) = (0, 0, 0);
    for round in 0..ROUNDS {
        let size = [64, 128, 192, 1024][random.below(4) as usize];
        scribble(&end, size, &mut random);
        let place = Place {
            offset: 0,
            size,
            generation: GENERATION,
            lane: None,
        };
        let to = Producer::attach(&*end, place, Handover::Ended, &mut || Ok(()));
        let from = Consumer::attach(&*end, place, &mut || Ok(()));
        let (mut to, mut from) = (to.unwrap(), from.unwrap());
        let longest = to.longest();
        for _ in 0..10 {
            let len = random.below(longest as u32 + 9) as usize;
            match to.reserve(len) {
                Ok(Some(space)) => {
                    sent += 1;
                    to.commit(space, len).unwrap();
                    assert!(len <= longest);
                }
                Ok(None) => armed += u32::from(to.arm(len).unwrap().is_some()),
                Err(Fault::TooLong { .. }) => {
                    too_long += 1;
                    assert!(len == 0 || len > longest, "{round}: {len} {longest}");
                }
                Err(other) => panic!("{round}: {other:?}"),
            }
            to.publish().unwrap();
            if random.below(2) == 0 {
                drain(&mut from);
            }
        }
        // What it has to leave out first is published, and passed over.
        drain(&mut from);
        if longest > 0 && to.reserve(longest).unwrap().is_none() {
            to.publish().unwrap();
            drain(&mut from);
            assert!(to.reserve(longest).unwrap().is_some(), "{round}");
        }
    }
    assert!(
        sent > ROUNDS && armed > 100 && too_long > 100,
        "{sent} {armed} {too_long}"
    );
}
