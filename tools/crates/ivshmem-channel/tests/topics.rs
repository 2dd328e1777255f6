// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Topics: values arrive whole, in their order and as the newest, whoever is stopped, replaced, slow or hostile.

mod common;
mod peers;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{memory, Polled};
use ivshmem::Memory;
use ivshmem_channel::ring::{Fault, Handover};
use ivshmem_channel::topic::{Reader, Topic, Writer};
use ivshmem_channel::{Cancel, Channel, Error, Layout, Member};
use ivshmem_peer::Peer;
use peers::peers;
use test_limit::limit;

const LEN: usize = 60;

fn topic(buffers: u32) -> Topic {
    Topic {
        offset: 0,
        buffers,
        size: 64,
        generation: 7,
    }
}

fn attach(memory: &Polled, buffers: u32, before: Handover) -> Writer<&Polled> {
    Writer::attach(memory, topic(buffers), before, &mut || Ok(())).unwrap()
}

fn value(who: u8, number: u8) -> Vec<u8> {
    [[who; LEN], [number; LEN]].concat()[..64].to_vec()
}

/// Memory that does something before its access number `at`, once.
struct Stop<F: Fn()> {
    accesses: AtomicU32,
    at: u32,
    then: F,
}

impl<F: Fn()> Stop<F> {
    fn access(&self) {
        if self.accesses.fetch_add(1, Ordering::Relaxed) == self.at {
            (self.then)();
        }
    }
}

/// An end in `file` before whose access number `at`, counted from when `armed` is set, `then` happens.
fn stopped(
    file: &std::fs::File,
    at: u32,
    armed: Arc<AtomicU32>,
    then: impl Fn() + Send + Sync + 'static,
) -> Arc<Polled> {
    let stop = Stop {
        accesses: AtomicU32::new(0),
        at,
        then,
    };
    Polled::while_using(file, 0, move || {
        if armed.load(Ordering::Relaxed) != 0 {
            stop.access();
        }
    })
}

/// All that a reader finds.
fn drain(reader: &mut Reader<&Polled>) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut buffer = Vec::new();
    while reader.next(&mut buffer).unwrap().is_some() {
        all.push(buffer.clone());
    }
    all
}

/// The old one is stopped before each access of a publication; the new one takes over by the rules and publishes; the
/// old one goes on; the new one publishes again.
#[test]
fn a_publisher_goes_on_after_it_was_replaced() {
    for early in 0..3 {
        goes_on_after(early);
    }
}

/// The new one publishes so many values before the old one goes on.
fn goes_on_after(early: u8) {
    const BUFFERS: u32 = 5;
    let mut replaced = 0;
    for at in 0.. {
        let file = memory();
        let armed = Arc::new(AtomicU32::new(0));
        let new = Polled::of(&file, 1);
        let successor = Arc::new(std::sync::Mutex::new(None));
        let then = {
            let (new, successor) = (Arc::clone(&new), Arc::clone(&successor));
            move || {
                let topic = topic(BUFFERS);
                let mut writer =
                    Writer::attach(Arc::clone(&new), topic, Handover::MayRun, &mut || Ok(()));
                let writer_ref = writer.as_mut().unwrap();
                for number in 0..early {
                    writer_ref.publish(&value(b'n', number)).unwrap();
                }
                *successor.lock().unwrap() = writer.ok();
            }
        };
        let old = stopped(&file, at, Arc::clone(&armed), then);
        let mut writer = attach(&old, BUFFERS, Handover::Ended);
        writer.publish(&value(b'o', 0)).unwrap();
        let watcher = Polled::of(&file, 2);
        let mut reader = Reader::new(&*watcher, topic(BUFFERS)).unwrap();
        assert_eq!(drain(&mut reader), [value(b'o', 0)]);
        armed.store(1, Ordering::Relaxed);
        let went_on = writer.publish(&value(b'o', 1));
        armed.store(0, Ordering::Relaxed);
        let Some(mut successor) = successor.lock().unwrap().take() else {
            assert!(at > 5, "{at}: it makes more accesses than that");
            break;
        };
        let mut expected: Vec<_> = (0..early).map(|number| value(b'n', number)).collect();
        match went_on {
            Err(Fault::Replaced) => replaced += 1,
            // It was announced before.
            Ok(_) => expected.insert(0, value(b'o', 1)),
            other => panic!("{at}: {other:?}"),
        }
        assert_eq!(drain(&mut reader), expected, "{at}");
        expected.clear();
        for number in early..20 {
            assert_eq!(successor.publish(&value(b'n', number)), Ok(0), "{at}");
            expected.push(value(b'n', number));
            assert_eq!(drain(&mut reader), [value(b'n', number)], "{at}");
            assert_eq!(writer.publish(&value(b'o', 9)), Err(Fault::Replaced));
        }
        // Who comes new gets the newest.
        let mut reader = Reader::new(&*watcher, topic(BUFFERS)).unwrap();
        assert_eq!(drain(&mut reader), [value(b'n', 19)]);
    }
    assert!(replaced > 5, "{replaced}");
}

/// While a reader is stopped before each of its accesses, all buffers are written anew.
#[test]
fn a_reader_goes_on_after_the_publisher_has_gone_round() {
    const BUFFERS: u32 = 3;
    for at in 0.. {
        let file = memory();
        let quick = Polled::of(&file, 1);
        let mut writer = attach(&quick, BUFFERS, Handover::Ended);
        for number in 0..4 {
            writer.publish(&value(b'n', number)).unwrap();
        }
        drop(writer);
        let (armed, hit) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let then = {
            let (quick, hit) = (Arc::clone(&quick), Arc::clone(&hit));
            move || {
                hit.store(1, Ordering::Relaxed);
                let mut writer = attach(&quick, BUFFERS, Handover::Ended);
                for number in 4..9 {
                    writer.publish(&value(b'n', number)).unwrap();
                }
            }
        };
        let slow = stopped(&file, at, Arc::clone(&armed), then);
        let mut reader = Reader::new(&*slow, topic(BUFFERS)).unwrap();
        armed.store(1, Ordering::Relaxed);
        let mut numbers = Vec::new();
        let mut buffer = Vec::new();
        while reader.next(&mut buffer).unwrap().is_some() {
            let number = buffer[63];
            assert_eq!(buffer, value(b'n', number), "{at}");
            numbers.push(number);
        }
        armed.store(0, Ordering::Relaxed);
        // Each once.
        let order = numbers.is_sorted_by(|a, b| a < b);
        assert!(order, "{at}: {numbers:?}");
        if hit.load(Ordering::Relaxed) == 0 {
            assert!(at > 5, "{at}: it makes more accesses than that");
            break;
        }
        assert_eq!(numbers.last(), Some(&8), "{at}");
    }
}

#[test]
fn buffers_that_were_left_out_stay_so_and_the_last_two_are_kept() {
    let file = memory();
    let end = Polled::of(&file, 0);
    drop(attach(&end, 4, Handover::Ended));
    // Two are stopped within a publication: their buffers say so.
    for lost in 0..2u64 {
        let mut writer = attach(&end, 4, Handover::Ended);
        writer.publish(&value(b'a', 0)).unwrap();
        let word = (0..4)
            .map(|index| 128 + index * 128)
            .find(|at| end.load64(*at, Ordering::Relaxed) == Ok(0));
        let epoch = end.load64(8, Ordering::Relaxed).unwrap() >> 32;
        let writing = epoch << 32 | u64::from(u32::MAX);
        end.store64(word.unwrap_or(128 * 3), writing, Ordering::Relaxed)
            .unwrap();
        drop(writer);
        // Not by one that ended: by one that may go on.
        drop(attach(&end, 4, Handover::MayRun));
        let out = (0..4)
            .filter(|index| end.load32(128 + index * 128, Ordering::Relaxed) == Ok(u32::MAX - 1));
        assert_eq!(out.count() as u64, lost + 1);
    }
    let mut writer = attach(&end, 4, Handover::Ended);
    let mut reader = Reader::new(&*end, topic(4)).unwrap();
    drain(&mut reader);
    for number in 0..10 {
        writer.publish(&value(b'b', number)).unwrap();
        assert_eq!(drain(&mut reader), [value(b'b', number)]);
    }
}

/// Another program takes all buffers from the publisher.
#[test]
fn a_publisher_that_has_too_few_buffers_says_so_each_time() {
    let file = memory();
    let end = Polled::of(&file, 0);
    let mut writer = attach(&end, 3, Handover::Ended);
    writer.publish(&value(b'a', 0)).unwrap();
    for index in 0..3 {
        end.store64(128 + index * 128, 5, Ordering::Relaxed)
            .unwrap();
    }
    for _ in 0..3 {
        let published = writer.publish(&value(b'a', 1));
        assert!(matches!(published, Err(Fault::Corrupt(_))), "{published:?}");
    }
}

/// Whatever the words say.
#[test]
fn a_reader_survives_any_words() {
    let file = memory();
    let end = Polled::of(&file, 0);
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut found = 0;
    let mut reader = Reader::new(&*end, topic(3)).unwrap();
    end.store32(0, 7, Ordering::Relaxed).unwrap();
    for _ in 0..200_000 {
        let small = [next() % 4, u64::from(u32::MAX) - next() % 4, next()][next() as usize % 3];
        let word = small | (next() % 3) << 32;
        let at = [8, 64, 128, 136, 256, 264, 384, 392][next() as usize % 8];
        end.store64(at, word, Ordering::Relaxed).unwrap();
        let mut buffer = Vec::new();
        found += u32::from(reader.next(&mut buffer).unwrap().is_some());
        found += u32::from(reader.newest(&mut buffer).unwrap().is_some());
        assert!(buffer.len() <= 64);
        reader.arm(next() as u32 % 64).unwrap();
        if next() % 64 == 0 {
            reader = Reader::new(&*end, topic(3)).unwrap();
        }
    }
    assert!(found > 100, "{found}");
}

/// Two subscribers of slot 0's topic, and a ring back from each, on the real server.
fn members(beat: Duration) -> ([Member<Arc<Peer>>; 3], vmbench::Region) {
    let (peers, region) = peers();
    let layout = Layout::new(3).multi_ring(0, 1024).topic(0, 4, 1024);
    let layout = layout.heartbeat(beat, 2 * beat);
    Channel::create(Arc::clone(&peers[0]), 0, &layout).unwrap();
    let mut slots = 0..;
    let members = peers.map(|peer| {
        let channel = Channel::open(peer, 0).unwrap();
        channel.join(slots.next().unwrap(), 0).unwrap()
    });
    (members, region)
}

#[test]
fn values_at_full_speed_are_whole_and_counted() {
    const VALUES: u32 = 20_000;
    let (members, _region) = members(Duration::from_millis(500));
    let [one, two, three] = &members;
    let mut publisher = one.publisher(0).unwrap();
    assert!(matches!(one.subscriber(0), Err(Error::NoSuch(_))));
    assert!(matches!(two.publisher(0), Err(Error::NoSuch(_))));
    assert!(matches!(two.subscriber(1), Err(Error::NoSuch(_))));
    publisher.publish(&[0; 4]).unwrap();
    let too_long = publisher.publish(&[0; 1025]);
    assert!(matches!(too_long, Err(Error::TooLong { .. })));
    std::thread::scope(|scope| {
        for (member, every) in [(two, true), (three, false)] {
            scope.spawn(move || {
                let mut values = member.subscriber(0).unwrap();
                let mut buffer = Vec::new();
                let mut last = None;
                while last != Some(VALUES) {
                    let found = match every {
                        true => values.next(&mut buffer, Some(limit())),
                        false => values.newest(&mut buffer, Some(limit())),
                    };
                    let missed = found.unwrap().expect("values come");
                    let number = u32::from_le_bytes(*buffer.first_chunk().unwrap());
                    assert_eq!(buffer.len(), 4 + number as usize % 1000);
                    assert!(buffer[4..].iter().all(|byte| *byte == number as u8));
                    if let Some(last) = last {
                        assert_eq!(number, last + 1 + missed);
                    }
                    last = Some(number);
                }
            });
        }
        for number in 1..=VALUES {
            let mut value = vec![number as u8; 4 + number as usize % 1000];
            value[..4].copy_from_slice(&number.to_le_bytes());
            publisher.publish(&value).unwrap();
        }
    });
}

/// A ring that is lost costs a second here.
#[test]
fn who_waits_for_a_value_is_rung() {
    const ROUNDS: u32 = 500;
    let (members, _region) = members(Duration::from_secs(60));
    let [one, two, three] = &members;
    let mut publisher = one.publisher(0).unwrap();
    let mut answers = one.multi_receiver().unwrap();
    std::thread::scope(|scope| {
        for member in [two, three] {
            scope.spawn(move || {
                let mut values = member.subscriber(0).unwrap();
                // One sleeps on the word, the other on a bell.
                if member.slot() == 2 {
                    values.set_cancel(&Cancel::new().unwrap());
                }
                let mut to = member.sender(0).unwrap();
                let mut buffer = Vec::new();
                for _ in 0..ROUNDS {
                    let missed = values.next(&mut buffer, Some(limit())).unwrap();
                    assert_eq!(missed, Some(0));
                    to.send(&buffer, Some(limit())).unwrap();
                }
            });
        }
        let begin = Instant::now();
        for round in 0..ROUNDS {
            publisher.publish(&round.to_le_bytes()).unwrap();
            for _ in 0..2 {
                let mut answer = Vec::new();
                assert!(answers
                    .receive(&mut answer, Some(limit()))
                    .unwrap()
                    .is_some());
                assert_eq!(answer, round.to_le_bytes());
            }
        }
        assert!(begin.elapsed() < limit(), "{:?}", begin.elapsed());
    });
}

#[test]
fn a_publisher_that_comes_again_goes_on() {
    let file = memory();
    let layout = Layout::new(2).topic(0, 3, 64);
    let [one, two] = [0, 1].map(|id| Polled::of(&file, id));
    let channel = Channel::create(Arc::clone(&one), 0, &layout).unwrap();
    let first = channel.join(0, 0).unwrap();
    let watcher = Channel::open(two, 0).unwrap().join(1, 0).unwrap();
    let mut values = watcher.subscriber(0).unwrap();
    let mut buffer = Vec::new();
    let zero = Some(Duration::ZERO);
    assert_eq!(values.next(&mut buffer, zero).unwrap(), None);
    first.publisher(0).unwrap().publish(b"one").unwrap();
    assert_eq!(values.next(&mut buffer, zero).unwrap(), Some(0));
    drop(first);
    let second = channel.join(0, 0).unwrap();
    let mut publisher = second.publisher(0).unwrap();
    assert_eq!(values.next(&mut buffer, zero).unwrap(), None, "not again");
    let mut late = watcher.subscriber(0);
    assert!(matches!(late, Err(Error::InUse)));
    publisher.publish(b"two").unwrap();
    assert_eq!(values.newest(&mut buffer, zero).unwrap(), Some(0));
    assert_eq!(buffer, b"two");
    drop(values);
    late = watcher.subscriber(0);
    assert_eq!(late.unwrap().next(&mut buffer, zero).unwrap(), Some(0));
    assert_eq!(buffer, b"two", "who comes new gets the newest");
    channel.reset().unwrap();
    assert!(matches!(publisher.publish(b"three"), Err(Error::Reset)));
    // Used memory, and another making.
    let again = channel.reset().unwrap().join(0, 0).unwrap();
    let watcher = Channel::open(Polled::of(&file, 1), 0)
        .unwrap()
        .join(1, 0)
        .unwrap();
    let mut values = watcher.subscriber(0).unwrap();
    assert_eq!(values.next(&mut buffer, zero).unwrap(), None);
    // Who came before the first value misses none.
    let mut publisher = again.publisher(0).unwrap();
    for value in [b"four", b"five"] {
        publisher.publish(value).unwrap();
    }
    for value in [b"four", b"five"] {
        assert_eq!(values.next(&mut buffer, zero).unwrap(), Some(0));
        assert_eq!(buffer, value);
    }
}
