// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A peer that writes to a word again and again, so that nobody else can replace it: the honest side goes on, or says that
//! it is corrupt.

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use common::{memory, Polled};
use ivshmem::Memory;
use ivshmem_channel::ring::{Consumer, Fault, Handover, Lane, MultiConsumer, Place, Producer};
use ivshmem_channel::topic::{Reader, Topic, Writer};
use ivshmem_channel::{Areas, Error};

/// Writes of the peer, so that a test ends that fails.
const MOST: u64 = 100_000;
/// The ring is behind the words that the lanes share.
const SHARED: u64 = 0;
const RING: u64 = 128;
const READY: u64 = SHARED + 8;
const REACH: u64 = RING + 8;
const HEAD: u64 = RING + 136;
/// Of a topic at the beginning of the memory.
const NEWEST: u64 = 8;
const WAITING: u64 = 64;

/// Somebody's memory, and the number of times that the peer wrote to the word at `at` meanwhile: before each access, with
/// the bits of `constant` clear.
struct Attacked {
    memory: Arc<Polled>,
    writes: Arc<AtomicU64>,
    _file: std::fs::File,
}

impl Attacked {
    fn new(at: u64, constant: u64) -> Self {
        let file = memory();
        let peer = Polled::of(&file, 1);
        let writes = Arc::new(AtomicU64::new(MOST));
        let attack = {
            let writes = Arc::clone(&writes);
            move || {
                let number = writes.load(Ordering::Relaxed);
                if number < MOST {
                    writes.store(number + 1, Ordering::Relaxed);
                    let word = (number << 33 | number << 3 | 4) & !constant;
                    peer.store64(at, word, Ordering::Relaxed).unwrap();
                }
            }
        };
        Self {
            memory: Polled::while_using(&file, 0, attack),
            writes,
            _file: file,
        }
    }

    /// Does something while the peer writes, and sees that it ends before the peer does.
    fn during<T>(&self, what: impl FnOnce() -> T) -> T {
        self.writes.store(0, Ordering::Relaxed);
        let result = what();
        let writes = self.writes.swap(MOST, Ordering::Relaxed);
        assert!(writes > 0 && writes < MOST, "{writes}");
        result
    }
}

fn place(lane: Option<Lane>) -> Place {
    Place {
        offset: RING,
        size: 1024,
        generation: 7,
        lane,
    }
}

fn ours() -> Result<(), Fault> {
    Ok(())
}

#[test]
fn an_end_that_is_not_left_alone_is_corrupt() {
    let attacked = Attacked::new(REACH, 0);
    let sender = attacked.during(|| {
        let memory = Arc::clone(&attacked.memory);
        Producer::attach(memory, place(None), Handover::Ended, &mut ours)
    });
    assert!(matches!(sender, Err(Fault::Corrupt(_))), "{sender:?}");
    let attacked = Attacked::new(HEAD, 0);
    let receiver = attacked.during(|| {
        let memory = Arc::clone(&attacked.memory);
        Consumer::attach(memory, place(None), &mut ours)
    });
    assert!(matches!(receiver, Err(Fault::Corrupt(_))), "{receiver:?}");
    let attacked = Attacked::new(NEWEST, 0);
    let writer = attacked.during(|| {
        let memory = Arc::clone(&attacked.memory);
        Writer::attach(memory, topic(), Handover::Ended, &mut ours)
    });
    assert!(matches!(writer, Err(Fault::Corrupt(_))), "{writer:?}");
}

/// A sender takes over from one that may go on, and looks again where that seems to have published something meanwhile.
#[test]
fn a_sender_that_comes_does_not_look_for_ever() {
    const HEADER: u64 = RING + 256;
    // One in so many of its accesses finds something, in any order of these.
    for (period, phase) in (2..8).flat_map(|period| (0..period).map(move |phase| (period, phase))) {
        let file = memory();
        let peer = Polled::of(&file, 1);
        let before = Producer::attach(&*peer, place(None), Handover::Ended, &mut ours);
        before.unwrap().reserve(8).unwrap().unwrap();
        let writes = Arc::new(AtomicU64::new(0));
        let attack = {
            let writes = Arc::clone(&writes);
            move || {
                let number = writes.fetch_add(1, Ordering::Relaxed);
                if number < MOST {
                    let word = u64::from(number % period == phase) * 4;
                    peer.store64(HEADER, word, Ordering::Relaxed).unwrap();
                }
            }
        };
        let memory = Polled::while_using(&file, 0, attack);
        let sender = Producer::attach(memory, place(None), Handover::MayRun, &mut ours);
        let writes = writes.load(Ordering::Relaxed);
        assert!(writes < MOST, "{period} {phase}: {sender:?}");
    }
}

/// The lanes share a word, which each of the senders can write to.
#[test]
fn a_sender_does_not_keep_the_others_and_the_receiver_from_going_on() {
    let lane = Lane {
        shared: SHARED,
        number: 0,
    };
    // Never the bit of the lane.
    let attacked = Attacked::new(READY, 1);
    let memory = || Arc::clone(&attacked.memory);
    let mut sender =
        Producer::attach(memory(), place(Some(lane)), Handover::Ended, &mut ours).unwrap();
    let lanes = [place(Some(lane))];
    let mut receiver = MultiConsumer::attach(memory(), lanes, SHARED, &mut ours).unwrap();
    assert_eq!(receiver.peek(), Ok(None));
    let space = sender.reserve(8).unwrap().unwrap();
    sender.commit(space, 8).unwrap();
    // It rings, for it cannot say so.
    assert_eq!(attacked.during(|| sender.publish()), Ok(true));
    let found = attacked.during(|| receiver.peek()).unwrap();
    assert!(found.is_some_and(|(lane, record)| lane == 0 && record.len == 8));
}

fn topic() -> Topic {
    Topic {
        offset: 0,
        buffers: 3,
        size: 64,
        generation: 7,
    }
}

#[test]
fn readers_and_publishers_of_a_topic_go_on() {
    let attacked = Attacked::new(WAITING, 1 << 1);
    let memory = || Arc::clone(&attacked.memory);
    let mut writer = Writer::attach(memory(), topic(), Handover::Ended, &mut ours).unwrap();
    let mut reader = Reader::new(memory(), topic()).unwrap();
    let armed = attacked.during(|| reader.arm(1)).unwrap();
    assert!(armed.is_some(), "it sleeps for a heartbeat");
    let waiting = attacked.during(|| writer.publish(b"value")).unwrap();
    assert_ne!(waiting, 0);
    let mut value = Vec::new();
    assert!(reader.newest(&mut value).unwrap().is_some());
    assert_eq!(value, b"value");
}

#[test]
fn areas_are_given_up() {
    // The header, and the two words of the first entry.
    for at in [0, 16, 24] {
        let attacked = Attacked::new(at, u64::MAX << 48);
        let areas = Areas::create(Arc::clone(&attacked.memory), 0).unwrap();
        let ended = attacked.during(|| match at {
            0 => Areas::create(Arc::clone(&attacked.memory), 0).map(drop),
            _ => areas.claim("name", 4096).map(drop),
        });
        assert!(matches!(ended, Err(Error::Reset)), "{at}: {ended:?}");
    }
}

/// Who receives from several senders comes while one of them writes to the words of its lane.
#[test]
fn a_sender_does_not_keep_a_receiver_from_coming() {
    let step = 256 + u64::from(place(None).size);
    let lanes = [0, 1].map(|number| Place {
        offset: RING + u64::from(number) * step,
        ..place(Some(Lane {
            shared: SHARED,
            number,
        }))
    });
    // Count and epoch, and the generation, which is replaced after them.
    for at in [HEAD, HEAD - 8] {
        let attacked = Attacked::new(at, 0);
        let memory = || Arc::clone(&attacked.memory);
        let mut other = Producer::attach(memory(), lanes[1], Handover::Ended, &mut ours).unwrap();
        let space = other.reserve(8).unwrap().unwrap();
        other.commit(space, 8).unwrap();
        other.publish().unwrap();
        let receiver =
            attacked.during(|| MultiConsumer::attach(memory(), lanes, SHARED, &mut ours));
        let mut receiver = receiver.unwrap_or_else(|fault| panic!("{at}: {fault:?}"));
        let spoilt = receiver.peek().unwrap_err();
        assert_eq!(spoilt.lane, Some(0), "{at}: {spoilt:?}");
        assert!(matches!(receiver.peek(), Ok(Some((1, _)))), "{at}");
    }
}
