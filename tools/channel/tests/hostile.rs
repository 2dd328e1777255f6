// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A peer that writes anything anywhere: the honest side reports it, and the channel can be made anew.
//!
//! `IVSHMEM_HOSTILE_SECONDS` sets how long; 3 if it is not set.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ivshmem::{forward_memory, Access, Doorbell, Mapping, Memory, Waiter};
use ivshmem_channel::{Channel, Error, Layout, Member, Presence};

const SIZE: usize = 64 << 10;
const RING: u32 = 4096;
const SOON: Option<Duration> = Some(Duration::from_millis(1));

/// An end of memory that looks at it instead of being rung: with a hostile peer, rings say nothing.
#[derive(Debug)]
struct Polled {
    mapping: Mapping,
    id: u32,
}

impl Polled {
    fn of(file: &File, id: u32) -> Arc<Self> {
        let mapping = Mapping::of(file, 0, SIZE, Access::ReadWrite).unwrap();
        Arc::new(Self { mapping, id })
    }

    fn mapping(&self) -> &Mapping {
        &self.mapping
    }
}

forward_memory!({} Polled, Polled::mapping);

impl Doorbell for Polled {
    fn peer_id(&self) -> u32 {
        self.id
    }
    fn vectors(&self) -> u32 {
        0
    }
    fn ring(&self, _: u32, _: u32) -> ivshmem::Result<()> {
        Ok(())
    }
}

impl Waiter for Polled {
    fn wait(&self, _: u64, _: Option<Duration>) -> ivshmem::Result<u64> {
        Err(ivshmem::Error::NoDoorbell)
    }
    fn wait_word(&self, at: u64, value: u32, timeout: Option<Duration>) -> ivshmem::Result<bool> {
        let begin = Instant::now();
        while self.load32(at, Ordering::Acquire)? == value {
            if timeout.is_some_and(|limit| begin.elapsed() >= limit) {
                return Ok(false);
            }
            std::thread::yield_now();
        }
        Ok(true)
    }
}

fn memory() -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(SIZE as u64).unwrap();
    file
}

fn layout() -> Layout {
    Layout::duplex(RING).heartbeat(Duration::from_millis(10), Duration::from_millis(100))
}

/// Random numbers, by xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Where the first ring's block is: behind header and table, and two slots.
const FIRST_RING: u64 = 256 + 2 * 128;
/// From one ring's block to the next.
const RING_STEP: u64 = 128 + RING as u64;

/// Writes anywhere, but mostly where it hurts: control words and the first records of the rings. Words of all
/// kinds, mostly near what was there, or what an honest peer would write.
fn scribble(memory: &Polled, size: u64, random: &mut Random) {
    let ring = FIRST_RING + random.next() % 2 * RING_STEP;
    let at = match random.next() % 64 {
        0 => random.next() % (size / 4) * 4,
        1 => random.next() % (FIRST_RING / 4) * 4,
        2..32 => ring + [0, 4, 8, 64, 68, 72][random.next() as usize % 6],
        _ => ring + 128 + random.next() % 64 * 4,
    };
    let old = memory.load32(at, Ordering::Relaxed).unwrap();
    let generation = memory.load32(12, Ordering::Relaxed).unwrap();
    let value = match random.next() % 5 {
        0 => random.next() as u32,
        1 => old.wrapping_add((random.next() % 64) as u32 * 8),
        2 => old ^ 1 << (random.next() % 32),
        3 => generation,
        _ => (random.next() % 600) as u32 * 8,
    };
    memory.store32(at, value, Ordering::Relaxed).unwrap();
}

/// Sends and receives until something is found to be wrong.
fn use_it(member: &Member<Arc<Polled>>) -> Result<(), Error> {
    let mut sender = member.sender(1)?;
    let mut receiver = member.receiver(1)?;
    let mut buffer = Vec::new();
    loop {
        match sender.send(&[7; 100], SOON) {
            Ok(()) | Err(Error::TimedOut) => {}
            Err(other) => return Err(other),
        }
        receiver.receive(&mut buffer, SOON)?;
        assert!(buffer.len() <= RING as usize);
        member.presence(1)?;
    }
}

#[test]
fn a_peer_that_scribbles_over_everything() {
    let seconds = std::env::var("IVSHMEM_HOSTILE_SECONDS").map_or(3, |s| s.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let file = memory();
    let honest = Polled::of(&file, 0);
    let stop = AtomicBool::new(false);
    let mut found = [0u32; 2];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let memory = Polled::of(&file, 1);
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            while !stop.load(Ordering::Relaxed) {
                scribble(&memory, layout().size(), &mut random);
                std::thread::sleep(Duration::from_micros(random.next() % 200));
            }
        });
        while Instant::now() < end {
            let channel = match Channel::create(Arc::clone(&honest), 0, &layout()) {
                Ok(channel) => channel,
                // It was overwritten before it was read back.
                Err(Error::NotAChannel(_)) => continue,
                Err(other) => panic!("{other:?}"),
            };
            match channel.join(0, 0).and_then(|member| use_it(&member)) {
                Err(Error::Corrupt(_)) => found[0] += 1,
                Err(Error::Reset | Error::Replaced | Error::SlotTaken(_)) => found[1] += 1,
                other => panic!("{other:?}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!(
        "{} corrupt rings, {} overwritten headers or slots",
        found[0], found[1]
    );
    assert!(found[0] > 0 && found[1] > 0, "{found:?}");
    both_ways(&file);
}

/// A channel that is made anew works, whatever was there before.
fn both_ways(file: &File) {
    let (a, b) = (Polled::of(file, 0), Polled::of(file, 1));
    let channel = Channel::create(a, 0, &layout()).unwrap();
    let one = channel.join(0, 0).unwrap();
    let two = Channel::open(b, 0).unwrap().join(1, 0).unwrap();
    for (from, to) in [(&one, &two), (&two, &one)] {
        let mut sender = from.sender(to.slot()).unwrap();
        let mut receiver = to.receiver(from.slot()).unwrap();
        for n in 0..1000u32 {
            sender.send(&n.to_le_bytes(), None).unwrap();
            let mut message = Vec::new();
            assert!(receiver.receive(&mut message, None).unwrap());
            assert_eq!(message, n.to_le_bytes());
        }
    }
}

#[test]
fn a_corrupt_ring_stays_corrupt_until_the_channel_is_made_anew() {
    let file = memory();
    let (a, b) = (Polled::of(&file, 0), Polled::of(&file, 1));
    let channel = Channel::create(Arc::clone(&a), 0, &layout()).unwrap();
    let one = channel.join(0, 0).unwrap();
    let two = Channel::open(Arc::clone(&b), 0)
        .unwrap()
        .join(1, 0)
        .unwrap();
    let mut sender = one.sender(1).unwrap();
    let mut receiver = two.receiver(0).unwrap();
    sender.send(b"good", None).unwrap();
    // The first record's length, behind the ring's control words.
    a.store32(FIRST_RING + 128, 5000, Ordering::SeqCst).unwrap();
    for _ in 0..2 {
        let error = receiver.next(SOON).unwrap_err();
        assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
    }
    channel.reset().unwrap();
    assert!(matches!(receiver.next(SOON), Err(Error::Reset)));
    assert!(matches!(sender.send(b"late", SOON), Err(Error::Reset)));
    drop((one, two, sender, receiver));
    both_ways(&file);
}

#[test]
fn a_full_ring_holds_the_sender_back() {
    let file = memory();
    let (a, b) = (Polled::of(&file, 0), Polled::of(&file, 1));
    let channel = Channel::create(a, 0, &layout()).unwrap();
    let one = channel.join(0, 0).unwrap();
    let two = Channel::open(b, 0).unwrap().join(1, 0).unwrap();
    let mut sender = one.sender(1).unwrap();
    let mut sent = 0u32;
    while sender.send(&sent.to_le_bytes(), SOON).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, RING / 16);
    let mut receiver = two.receiver(0).unwrap();
    let mut message = Vec::new();
    for n in 0..sent {
        assert!(receiver.receive(&mut message, SOON).unwrap());
        assert_eq!(message, n.to_le_bytes());
    }
    assert!(!receiver.receive(&mut message, SOON).unwrap());
    let longest = sender.longest();
    sender.send(&vec![1; longest], SOON).unwrap();
    let too_long = sender.send(&vec![1; longest + 1], SOON);
    assert!(matches!(too_long, Err(Error::TooLong { .. })));
}

#[test]
fn what_is_not_committed_was_never_there_and_what_is_not_flushed_is_not_seen() {
    let file = memory();
    let (a, b) = (Polled::of(&file, 0), Polled::of(&file, 1));
    let one = Channel::create(a, 0, &layout())
        .unwrap()
        .join(0, 0)
        .unwrap();
    let two = Channel::open(b, 0).unwrap().join(1, 0).unwrap();
    let mut sender = one.sender(1).unwrap();
    let mut receiver = two.receiver(0).unwrap();
    {
        let mut space = sender.reserve(100, SOON).unwrap();
        space.write(0, b"never").unwrap();
        assert!(space.write(96, b"12345").is_err());
    }
    let mut space = sender.reserve(100, SOON).unwrap();
    space.write(0, b"some of it").unwrap();
    space.commit(4).unwrap();
    assert!(receiver.next(SOON).unwrap().is_none());
    sender.flush().unwrap();
    let message = receiver.next(SOON).unwrap().unwrap();
    assert_eq!(message.to_vec().unwrap(), b"some");
}

#[test]
fn a_program_that_comes_again_goes_on_and_one_that_was_replaced_is_told() {
    let file = memory();
    let (a, b) = (Polled::of(&file, 0), Polled::of(&file, 1));
    let channel = Channel::create(Arc::clone(&a), 0, &layout()).unwrap();
    let one = channel.join(0, 0).unwrap();
    let watcher = Channel::open(b, 0).unwrap().join(1, 0).unwrap();
    let before = watcher.presence(0).unwrap();
    assert!(
        matches!(before, Presence::Present { peer_id: 0, .. }),
        "{before:?}"
    );
    one.sender(1).unwrap().send(b"first", SOON).unwrap();
    // It hangs: no heartbeat, and nobody has left.
    while watcher.presence(0).unwrap() == before {
        watcher.beat().unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(watcher.presence(0), Ok(Presence::Lost { .. })));
    let again = channel.join(0, 0).unwrap();
    again.sender(1).unwrap().send(b"second", SOON).unwrap();
    assert!(matches!(one.beat(), Err(Error::Replaced)));
    drop(one);
    let mut receiver = watcher.receiver(0).unwrap();
    for expected in [&b"first"[..], b"second"] {
        let message = receiver.next(SOON).unwrap().unwrap();
        assert_eq!(message.to_vec().unwrap(), expected);
        message.done().unwrap();
    }
    drop(again);
    assert_eq!(watcher.presence(0).unwrap(), Presence::Absent);
}

#[test]
fn a_slot_of_a_program_that_lives_is_taken() {
    let file = memory();
    let channel = Channel::create(Polled::of(&file, 0), 0, &layout()).unwrap();
    let one = channel.join(0, 0).unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let channel = Channel::open(Polled::of(&file, 1), 0).unwrap();
            channel.join(0, 0).map(|_| ())
        });
        while !other.is_finished() {
            one.beat().unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(matches!(other.join().unwrap(), Err(Error::SlotTaken(0))));
    });
    let sender = one.sender(1).unwrap();
    assert!(matches!(one.sender(1), Err(Error::InUse)));
    drop(sender);
    one.sender(1).unwrap();
    assert!(matches!(one.sender(0), Err(Error::NoSuch(_))));
}

#[test]
fn programs_that_are_all_alike_find_a_slot() {
    let file = memory();
    let channel = Channel::create(Polled::of(&file, 0), 0, &layout()).unwrap();
    let stranger = Channel::open(Polled::of(&file, 1), 0).unwrap();
    let one = channel.join_any(&[0, 1], 0).unwrap();
    let two = stranger.join_any(&[0, 1], 0).unwrap();
    assert_eq!((one.slot(), two.slot()), (0, 1));
    drop(one);
    let one = stranger.join_any(&[0, 1], 0).unwrap();
    assert_eq!(one.slot(), 0, "the one that was left");
    // It crashes: whoever comes waits until it has been silent for long enough.
    std::mem::forget(one);
    let third = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let channel = Channel::open(Polled::of(&file, 2), 0).unwrap();
            channel.join_any(&[1, 0], 0).map(|member| member.slot())
        });
        while !other.is_finished() {
            two.beat().unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        other.join().unwrap()
    });
    assert_eq!(third.unwrap(), 0);
}
