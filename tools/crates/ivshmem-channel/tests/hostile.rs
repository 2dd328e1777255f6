// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A peer that writes anything anywhere: the honest side reports it, and the channel can be recreated.
//!
//! `IVSHMEM_HOSTILE_SECONDS` sets how long; 3 if it is not set.

mod common;

use std::fs::File;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use common::{layout, members, memory, End, Polled, GATHERS, RING, SOON};
use futures_util::Stream;
use ivshmem::Memory;
use ivshmem_channel::{select, Cancel, Channel, Error, Messages, MultiReceiver};

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

/// Where the first ring's block is: behind header and table, and three slots.
const FIRST_RING: u64 = 256 + 3 * 128;
/// From one ring's block to the next, and to its data.
const RING_STEP: u64 = DATA + RING as u64;
const DATA: u64 = 256;
/// Words of a ring: the sender's, of which the last are two halves of a place that is left out; then the receiver's.
const CONTROLS: [u64; 10] = [0, 8, 12, 16, 64, 68, 128, 136, 140, 192];
const SENDERS: usize = 6;
/// The word on which the receiver of the ring with several senders sleeps; behind it is the one that tells of messages.
const DOZE: u64 = FIRST_RING + 2 * RING_STEP;
/// The blocks of the two rings with one sender, and of the two lanes of the other one.
const BLOCKS: [u64; 4] = [
    FIRST_RING,
    FIRST_RING + RING_STEP,
    DOZE + 128,
    DOZE + 128 + RING_STEP,
];

/// Writes anywhere, but mostly where it hurts: control words and the first records of the rings. Words of all
/// kinds, mostly near what was there, or what an honest peer would write.
fn scribble(memory: &Polled, size: u64, random: &mut Random) {
    let ring = BLOCKS[random.next() as usize % BLOCKS.len()];
    let at = match random.next() % 64 {
        0 => random.next() % (size / 4) * 4,
        1 => random.next() % (FIRST_RING / 4) * 4,
        2 => DOZE + random.next() % 4 * 4,
        3..32 => ring + CONTROLS[random.next() as usize % CONTROLS.len()],
        _ => ring + DATA + random.next() % 64 * 4,
    };
    put(memory, at, random);
}

/// Writes into one lane alone.
fn scribble_lane(memory: &Polled, lane: u64, random: &mut Random) {
    let at = match random.next() % 4 {
        0 => DOZE + random.next() % 4 * 4,
        1 => lane + CONTROLS[random.next() as usize % SENDERS],
        _ => lane + DATA + random.next() % 64 * 4,
    };
    put(memory, at, random);
}

fn put(memory: &Polled, at: u64, random: &mut Random) {
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

/// How long to try.
fn end() -> Instant {
    let seconds = std::env::var("IVSHMEM_HOSTILE_SECONDS").map_or(3, |s| s.parse().unwrap());
    Instant::now() + Duration::from_secs(seconds)
}

/// Whether to stop: when the time is over, but not before `enough` was found, unless that hangs.
fn is_over(end: Instant, enough: bool) -> bool {
    let now = Instant::now();
    now > end && (enough || now > end + test_limit::limit())
}

/// What was found to be wrong.
#[derive(Debug, Default)]
struct Found {
    rings: u32,
    lanes: u32,
    others: u32,
}

impl Found {
    /// Whether there was some of each kind.
    fn all(&self) -> bool {
        self.rings > 0 && self.lanes > 0 && self.others > 0
    }
}

/// Sends and receives until something is found to be wrong: by the rings with one sender, or the other one.
fn use_it(one: &End, gathers: &End, several: bool, found: &mut Found) -> Result<(), Error> {
    let mut buffer = Vec::new();
    let mut sender = one.sender(if several { GATHERS } else { 1 })?;
    let mut receiver = one.receiver(1)?;
    let mut multi = gathers.multi_receiver()?;
    loop {
        match sender.send(&[7; 100], SOON) {
            Ok(()) | Err(Error::TimedOut) => {}
            Err(other) => return Err(other),
        }
        if !several {
            receiver.receive(&mut buffer, SOON)?;
        } else if let Err(error) = multi.receive(&mut buffer, SOON) {
            match error {
                Error::CorruptLane { from: 0 | 1, .. } => found.lanes += 1,
                other => return Err(other),
            }
        }
        assert!(buffer.len() <= RING as usize);
        one.presence(1)?;
    }
}

/// Makes the channel, joins twice and uses it.
fn round(honest: &Arc<Polled>, several: bool, found: &mut Found) -> Result<(), Error> {
    let channel = Channel::create(Arc::clone(honest), 0, &layout())?;
    let one = channel.join(0, 0)?;
    let gathers = channel.join(GATHERS, 0)?;
    use_it(&one, &gathers, several, found)
}

#[test]
fn a_peer_that_scribbles_over_everything() {
    let end = end();
    let file = memory();
    let honest = Polled::of(&file, 0);
    let stop = AtomicBool::new(false);
    let mut found = Found::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let memory = Polled::of(&file, 1);
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            while !stop.load(Ordering::Relaxed) {
                scribble(&memory, layout().size(), &mut random);
                std::thread::sleep(Duration::from_micros(random.next() % 200));
            }
        });
        for number in 0.. {
            // On a busy machine it takes longer to meet each kind.
            if is_over(end, found.all()) {
                break;
            }
            match round(&honest, number % 2 == 0, &mut found) {
                Err(Error::Corrupt(_)) => found.rings += 1,
                // The last: it was overwritten before it was read back.
                Err(
                    Error::Reset | Error::Replaced | Error::SlotTaken(_) | Error::NotAChannel(_),
                ) => found.others += 1,
                other => panic!("{other:?}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{found:?}, the others are headers and slots");
    assert!(found.all(), "{found:?}");
    all_ways(&file);
}

/// A channel that is recreated works, whatever was there before.
fn all_ways(file: &File) {
    let [one, two, gathers] = members(file);
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
    let mut receiver = gathers.multi_receiver().unwrap();
    for from in [&one, &two] {
        let mut sender = from.sender(GATHERS).unwrap();
        for n in 0..1000u32 {
            sender.send(&n.to_le_bytes(), None).unwrap();
            let mut message = Vec::new();
            let said = receiver.receive(&mut message, None).unwrap();
            assert_eq!(
                (said, &message[..]),
                (Some(from.slot()), &n.to_le_bytes()[..])
            );
        }
    }
}

/// Takes the next number of slot 0; counts how often slot 1 is said to be corrupt.
fn next_number(receiver: &mut MultiReceiver<Arc<Polled>>, corrupt: &mut u32) -> Option<u64> {
    let mut message = Vec::new();
    match receiver.receive(&mut message, SOON) {
        Ok(Some(0)) => Some(u64::from_le_bytes(message.try_into().unwrap())),
        // Forged by who scribbles, or nothing.
        Ok(_) => None,
        Err(Error::CorruptLane { from: 1, .. }) => {
            *corrupt += 1;
            None
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_sender_that_scribbles_over_its_lane_does_not_touch_the_others() {
    let end = end();
    let file = memory();
    let stop = AtomicBool::new(false);
    let [one, _, gathers] = members(&file);
    let (mut next, mut corrupt, mut receivers) = (0, 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let memory = Polled::of(&file, 1);
            let mut random = Random(0x1234_5678_9abc_def1);
            while !stop.load(Ordering::Relaxed) {
                scribble_lane(&memory, BLOCKS[3], &mut random);
                std::thread::sleep(Duration::from_micros(random.next() % 200));
            }
        });
        scope.spawn(|| {
            let mut sender = one.sender(GATHERS).unwrap();
            for n in 0u64.. {
                while let Err(error) = sender.send(&n.to_le_bytes(), SOON) {
                    assert!(matches!(error, Error::TimedOut), "{error:?}");
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                }
            }
        });
        // A receiver reports a lane once: so take another one now and then.
        while !is_over(end, next > 1000 && corrupt > 0) {
            let mut receiver = gathers.multi_receiver().unwrap();
            receivers += 1;
            for _ in 0..1000 {
                if let Some(n) = next_number(&mut receiver, &mut corrupt) {
                    assert_eq!(n, next);
                    next += 1;
                }
            }
            receiver.release().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{next} messages of the other, {corrupt} corrupt lanes of {receivers} receivers");
    assert!(next > 1000 && corrupt > 0 && corrupt <= receivers);
}

#[test]
fn a_corrupt_ring_stays_corrupt_until_the_channel_is_made_anew() {
    let file = memory();
    let [one, two, _] = members(&file);
    let a = Polled::of(&file, 0);
    let channel = Channel::open(Arc::clone(&a), 0).unwrap();
    let mut sender = one.sender(1).unwrap();
    let mut receiver = two.receiver(0).unwrap();
    sender.send(b"good", None).unwrap();
    // The first record's length.
    a.store32(FIRST_RING + DATA, 5000 << 2 | 1, Ordering::SeqCst)
        .unwrap();
    for _ in 0..2 {
        let error = receiver.next(SOON).unwrap_err();
        assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
    }
    channel.reset().unwrap();
    assert!(matches!(receiver.next(SOON), Err(Error::Reset)));
    assert!(matches!(sender.send(b"late", SOON), Err(Error::Reset)));
    drop((one, two, sender, receiver));
    all_ways(&file);
}

/// Fills the ring from slot 0 to slot 1 with records that leave something out, as fast as they are passed over.
struct LeavesOut {
    memory: Arc<Polled>,
    /// Up to where it has written.
    count: AtomicU32,
    /// How often it could have, and how often at most.
    turns: AtomicU32,
    most: AtomicU32,
}

impl LeavesOut {
    /// After so many turns it ends, so that a test ends that fails.
    const MOST: u32 = 100_000;

    fn go_on(&self) {
        const HEAD: u64 = 136;
        let most = self.most.load(Ordering::Relaxed);
        if self.turns.fetch_add(1, Ordering::Relaxed) >= most {
            return;
        }
        let load = |at| self.memory.load32(at, Ordering::Relaxed).unwrap();
        let generation = load(12);
        let origin = FIRST_RING;
        self.memory
            .store32(origin, generation, Ordering::Relaxed)
            .unwrap();
        let end = load(FIRST_RING + HEAD) + RING - 16;
        let last = FIRST_RING + DATA + u64::from(end % RING);
        self.memory.store64(last, 0, Ordering::Relaxed).unwrap();
        for count in (self.count.load(Ordering::Relaxed)..end).step_by(8) {
            let at = FIRST_RING + DATA + u64::from(count % RING);
            let word = u64::from(8 << 2 | 2u32) | u64::from(count ^ generation) << 32;
            self.memory.store64(at, word, Ordering::Relaxed).unwrap();
        }
        self.count.store(end, Ordering::Relaxed);
    }
}

/// A channel, and the end in slot 1 of somebody to whom slot 0 sends nothing without end.
fn kept_busy() -> (Arc<LeavesOut>, End, File) {
    let file = memory();
    Channel::create(Polled::of(&file, 0), 0, &layout()).unwrap();
    let hostile = Arc::new(LeavesOut {
        memory: Polled::of(&file, 0),
        count: AtomicU32::new(0),
        turns: AtomicU32::new(0),
        most: AtomicU32::new(LeavesOut::MOST),
    });
    let link = {
        let hostile = Arc::clone(&hostile);
        Polled::while_using(&file, 1, move || hostile.go_on())
    };
    let member = Channel::open(link, 0).unwrap().join(1, 0).unwrap();
    (hostile, member, file)
}

#[test]
fn who_is_kept_busy_with_nothing_can_be_cancelled() {
    let (hostile, member, _file) = kept_busy();
    let mut receiver = member.receiver(0).unwrap();
    assert!(receiver.next(SOON).unwrap().is_none());
    let cancel = Cancel::new().unwrap();
    cancel.cancel();
    receiver.set_cancel(&cancel);
    let ended = select(&mut [&mut receiver], None);
    assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
    let ended = receiver.next(None).map(drop);
    assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
    assert!(hostile.turns.load(Ordering::Relaxed) < LeavesOut::MOST);
}

#[test]
fn who_is_kept_busy_with_nothing_shows_that_it_lives() {
    const HEARTBEAT: u64 = 256 + 128 + 12;
    let (hostile, member, file) = kept_busy();
    let mut receiver = member.receiver(0).unwrap();
    let watcher = Polled::of(&file, 2);
    let heartbeat = || watcher.load32(HEARTBEAT, Ordering::Relaxed).unwrap();
    // This one ends by itself.
    hostile.most.store(u32::MAX, Ordering::Relaxed);
    let before = heartbeat();
    // Ten heartbeats.
    let found = receiver.next(Some(Duration::from_millis(100)));
    assert!(found.unwrap().is_none());
    assert!(heartbeat() > before + 2, "{} {before}", heartbeat());
}

#[test]
fn a_task_that_is_kept_busy_with_nothing_lets_others_run() {
    let (hostile, member, _file) = kept_busy();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    let _inside = runtime.enter();
    let mut messages = Messages::new(member.receiver(0).unwrap()).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let polled = Pin::new(&mut messages).poll_next(&mut context);
    assert!(matches!(polled, Poll::Pending), "{polled:?}");
    assert!(hostile.turns.load(Ordering::Relaxed) < LeavesOut::MOST);
}
