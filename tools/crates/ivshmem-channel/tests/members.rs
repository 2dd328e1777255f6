// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What sending, receiving, joining and leaving promise, with peers that keep to the rules.

mod common;

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use common::{layout, members, memory, Polled, RING, SIZE, SOON};
use ivshmem_channel::{Channel, Error, Presence};

#[test]
fn a_full_ring_holds_the_sender_back() {
    let file = memory();
    let [one, two, _] = members(&file);
    let mut sender = one.sender(1).unwrap();
    let mut sent = 0u32;
    while sender.send(&sent.to_le_bytes(), SOON).is_ok() {
        sent += 1;
    }
    // A header is left free.
    assert_eq!(sent, RING / 16 - 1);
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
    let [one, two, _] = members(&file);
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
    let one = Arc::new(channel.join(0, 0).unwrap());
    let lives = Arc::clone(&one);
    let link = Polled::while_using(&file, 1, move || lives.beat().unwrap());
    let other = Channel::open(link, 0).unwrap();
    assert!(matches!(other.join(0, 0), Err(Error::SlotTaken(0))));
    let sender = one.sender(1).unwrap();
    assert!(matches!(one.sender(1), Err(Error::InUse)));
    drop(sender);
    one.sender(1).unwrap();
    assert!(matches!(one.sender(0), Err(Error::NoSuch(_))));
}

/// A heartbeat that came while it could not look counts all the same.
#[test]
fn who_is_stopped_while_it_looks_takes_nobody_for_dead() {
    const LOST: Duration = Duration::from_millis(20);
    let file = memory();
    let layout = layout().heartbeat(LOST / 2, LOST);
    let channel = Channel::create(Polled::of(&file, 0), 0, &layout).unwrap();
    let one = Arc::new(channel.join(0, 0).unwrap());
    // At each access in turn, of the first looks at the slot.
    for stop in 0..32 {
        let (lives, accesses) = (Arc::clone(&one), AtomicU32::new(0));
        let link = Polled::while_using(&file, 1, move || {
            if accesses.fetch_add(1, Ordering::Relaxed) == stop {
                std::thread::sleep(LOST);
            }
            // It fails if the slot was taken, which the join tells.
            let _ = lives.beat();
        });
        let channel = Channel::open(link, 0).unwrap();
        let joined = channel.joining().timeout(3 * LOST).join(0, 0);
        assert!(matches!(joined, Err(Error::SlotTaken(0))), "at {stop}");
    }
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
    let link = Polled::while_using(&file, 2, move || two.beat().unwrap());
    let channel = Channel::open(link, 0).unwrap();
    let third = channel.join_any(&[1, 0], 0).unwrap();
    assert_eq!(third.slot(), 0);
}

/// Byte in the file at which a slot of [`layout`] begins: after the header and a table of three rings.
fn slot_at(slot: u64) -> u64 {
    256 + 128 * slot
}

#[test]
fn nobody_takes_a_slot_while_another_joins_it() {
    let file = memory();
    let channel = Channel::create(Polled::of(&file, 0), 0, &layout()).unwrap();
    drop(channel.join(0, 0).unwrap());
    // Somebody has taken slot 0, and has not come to say more of itself: it was stopped there, or has died.
    let mut generation = [0; 4];
    file.read_exact_at(&mut generation, 12).unwrap();
    file.write_all_at(&generation, slot_at(0)).unwrap();
    file.write_all_at(&77u32.to_le_bytes(), slot_at(0) + 4)
        .unwrap();
    let one = channel.join_any(&[0, 1], 0).unwrap();
    assert_eq!(one.slot(), 1, "the one that nobody claims");
    assert_eq!(one.presence(0).unwrap(), Presence::Absent);
    // Some time of silence later, it is taken for dead.
    let two = channel.join(0, 0).unwrap();
    assert!(matches!(
        one.presence(0),
        Ok(Presence::Present { peer_id: 0, .. })
    ));
    drop(two);
}

#[test]
fn who_was_stopped_while_joining_does_no_lasting_harm() {
    let file = memory();
    let [one, two, _] = members(&file);
    // What it writes when it goes on: a heartbeat, its peer ID, no vector, its incarnation.
    let words = [0, 7, u32::MAX, 77].map(u32::to_le_bytes);
    for (word, at) in words.iter().zip([12, 16, 20, 8]) {
        file.write_all_at(word, slot_at(0) + at).unwrap();
    }
    assert_eq!(two.presence(0).unwrap(), Presence::Absent);
    test_limit::wait_until("slot 0 says again who is there", || {
        one.beat().unwrap();
        matches!(two.presence(0), Ok(Presence::Present { peer_id: 0, .. }))
    });
}

#[test]
fn two_that_make_the_channel_at_the_same_time_find_each_other() {
    let file = memory();
    for _ in 0..500 {
        file.set_len(0).unwrap();
        file.set_len(SIZE as u64).unwrap();
        let ready = Barrier::new(2);
        let make = |id| {
            let link = Polled::of(&file, id);
            ready.wait();
            Channel::open_or_create(link, 0, &layout()).unwrap();
        };
        std::thread::scope(|scope| {
            scope.spawn(|| make(0));
            make(1);
        });
        // What they leave is a channel, whoever of them has made it.
        Channel::open(Polled::of(&file, 2), 0).unwrap();
    }
}
