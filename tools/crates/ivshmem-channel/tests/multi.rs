// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A ring with several senders: who is heard when, and what the crash of one is to the others.

mod common;

use std::sync::atomic::Ordering;

use common::{members, memory, End, Polled, GATHERS, RING, SOON};
use ivshmem::Memory;
use ivshmem_channel::{Error, MultiReceiver};

/// The next message: who sent it, and its number.
fn next<L: ivshmem::Link + Clone>(receiver: &mut MultiReceiver<L>) -> Option<(u32, u32)> {
    let mut message = Vec::new();
    let from = receiver.receive(&mut message, SOON).unwrap()?;
    Some((from, u32::from_le_bytes(message.try_into().unwrap())))
}

fn send(member: &End, numbers: impl IntoIterator<Item = u32>) {
    let mut sender = member.sender(GATHERS).unwrap();
    for number in numbers {
        sender.send(&number.to_le_bytes(), SOON).unwrap();
    }
}

#[test]
fn the_messages_of_each_arrive_in_order_and_none_has_to_wait_for_more_than_a_turn() {
    let file = memory();
    let [one, two, gathers] = members(&file);
    let mut receiver = gathers.multi_receiver().unwrap();
    assert_eq!(next(&mut receiver), None);
    send(&one, 0..10);
    assert_eq!(next(&mut receiver), Some((0, 0)));
    // More of the first, while its turn goes on, do not keep the second waiting.
    send(&two, 0..3);
    send(&one, 10..20);
    let order: Vec<_> = std::iter::from_fn(|| next(&mut receiver)).collect();
    let slot = |from, numbers: std::ops::Range<u32>| numbers.map(move |number| (from, number));
    let turns = slot(0, 1..10).chain(slot(1, 0..3)).chain(slot(0, 10..20));
    assert_eq!(order, turns.collect::<Vec<_>>());
}

#[test]
fn who_crashes_within_a_message_holds_nobody_up() {
    let file = memory();
    let [one, two, gathers] = members(&file);
    let mut receiver = gathers.multi_receiver().unwrap();
    let mut sender = one.sender(GATHERS).unwrap();
    let mut space = sender.reserve(100, SOON).unwrap();
    space.write(0, b"half of a mess").unwrap();
    sender.queue(b"never published", SOON).unwrap();
    // As in a crash: nothing of it is undone, or told to anybody.
    std::mem::forget(sender);
    send(&two, 0..5);
    let heard: Vec<_> = std::iter::from_fn(|| next(&mut receiver)).collect();
    assert_eq!(heard, [0, 1, 2, 3, 4].map(|number| (1, number)));
    // The next program in its slot goes on.
    let again = members_again(&file);
    send(&again, [7]);
    assert_eq!(next(&mut receiver), Some((0, 7)));
}

/// Slot 0, joined once more.
fn members_again(file: &std::fs::File) -> End {
    let channel = ivshmem_channel::Channel::open(Polled::of(file, 0), 0).unwrap();
    channel.join(0, 0).unwrap()
}

#[test]
fn a_full_lane_holds_its_sender_back_and_no_other() {
    let file = memory();
    let [one, two, gathers] = members(&file);
    let mut sender = one.sender(GATHERS).unwrap();
    while sender.send(&[1; 8], SOON).is_ok() {}
    send(&two, 0..10);
    assert!(matches!(sender.send(&[1; 8], SOON), Err(Error::TimedOut)));
    let mut receiver = gathers.multi_receiver().unwrap();
    let mut message = Vec::new();
    for _ in 0..RING / 16 {
        assert_eq!(receiver.receive(&mut message, SOON).unwrap(), Some(0));
    }
    assert_eq!(next(&mut receiver), Some((1, 0)));
}

#[test]
fn a_lane_gets_its_room_back_while_the_receiver_is_busy_with_another() {
    let file = memory();
    let [one, two, gathers] = members(&file);
    let mut receiver = gathers.multi_receiver().unwrap();
    let mut sender = one.sender(GATHERS).unwrap();
    let mut message = Vec::new();
    // The second is less than the quarter at which room is given back.
    for len in [1040, 1000] {
        sender.send(&vec![1; len], SOON).unwrap();
        assert_eq!(receiver.receive(&mut message, SOON).unwrap(), Some(0));
    }
    // At this place it takes all of the lane: it does not fit between here and the end.
    let longest = vec![2; sender.longest()];
    assert!(matches!(sender.send(&longest, SOON), Err(Error::TimedOut)));
    send(&two, 0..100);
    assert_eq!(next(&mut receiver), Some((1, 0)));
    sender.send(&longest, SOON).unwrap();
}

#[test]
fn a_corrupt_lane_is_reported_once_and_left_out() {
    let file = memory();
    let [one, two, gathers] = members(&file);
    let mut receiver = gathers.multi_receiver().unwrap();
    send(&one, 0..2);
    send(&two, 0..2);
    // The tail of slot 0's lane, behind header, table, slots, two rings, and the word to sleep on.
    let lane = 256 + 3 * 128 + 2 * (128 + u64::from(RING)) + 128;
    let tail = |offset: u64| {
        let memory = Polled::of(&file, 1);
        memory.store32(lane + offset, 4, Ordering::SeqCst).unwrap();
    };
    tail(0);
    let said = receiver.next(SOON).unwrap_err();
    assert!(
        matches!(said, Error::CorruptLane { from: 0, .. }),
        "{said:?}"
    );
    let heard: Vec<_> = std::iter::from_fn(|| next(&mut receiver)).collect();
    assert_eq!(heard, [(1, 0), (1, 1)]);
    tail(128 + u64::from(RING));
    let said = receiver.next(SOON).unwrap_err();
    assert!(
        matches!(said, Error::CorruptLane { from: 1, .. }),
        "{said:?}"
    );
    for _ in 0..2 {
        // Nobody is left: waiting for ever would be a hang.
        assert!(matches!(receiver.next(None), Err(Error::Corrupt(_))));
    }
}

#[test]
fn who_may_send_and_receive_is_in_the_layout() {
    let file = memory();
    let [one, two, gathers] = members(&file);
    assert!(matches!(one.multi_receiver(), Err(Error::NoSuch(_))));
    assert!(matches!(gathers.sender(GATHERS), Err(Error::NoSuch(_))));
    assert!(matches!(gathers.sender(0), Err(Error::NoSuch(_))));
    let alone = gathers.receiver(1).unwrap_err().to_string();
    assert!(alone.contains("multi_receiver()"), "{alone}");
    let receiver = gathers.multi_receiver().unwrap();
    assert!(matches!(gathers.multi_receiver(), Err(Error::InUse)));
    drop(receiver);
    gathers.multi_receiver().unwrap();
    let sender = two.sender(GATHERS).unwrap();
    assert!(matches!(two.sender(GATHERS), Err(Error::InUse)));
    drop(sender);
}
