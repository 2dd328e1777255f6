// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A ring with several senders: who is heard when, and what the crash of one is to the others.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{members, memory, End, Polled, GATHERS, RING, SOON};
use ivshmem::{Access, Mapping, Memory};
use ivshmem_channel::ring::{Handover, Lane, MultiConsumer, Place, Producer};
use ivshmem_channel::{Error, MultiReceiver, Spin};
use test_limit::limit;

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
    send(&two, 0..3);
    let order: Vec<_> = std::iter::from_fn(|| next(&mut receiver)).collect();
    let slot = |from, numbers: std::ops::Range<u32>| numbers.map(move |number| (from, number));
    let turns = slot(0, 1..10).chain(slot(1, 0..3));
    assert_eq!(order, turns.collect::<Vec<_>>());
    // One that always has more does not keep the other waiting: a turn is a quarter of its room.
    let turn = RING / 4 / 16;
    send(&one, 0..2 * turn);
    assert_eq!(next(&mut receiver), Some((0, 0)));
    send(&two, 3..4);
    for number in 1..turn {
        assert_eq!(next(&mut receiver), Some((0, number)));
    }
    assert_eq!(next(&mut receiver), Some((1, 3)));
    for number in turn..2 * turn {
        assert_eq!(next(&mut receiver), Some((0, number)));
    }
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
    // It may have been stopped only, so that what it was writing to is left out.
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
    let mut received = [0, 0];
    while let Some(from) = receiver.receive(&mut message, SOON).unwrap() {
        received[from as usize] += 1;
    }
    assert_eq!(received, [RING / 16 - 1, 10]);
}

#[test]
fn a_lane_gets_its_room_back_when_it_is_empty() {
    let file = memory();
    let [one, two, gathers] = members(&file);
    let mut receiver = gathers.multi_receiver().unwrap();
    let mut sender = one.sender(GATHERS).unwrap();
    let longest = vec![2; sender.longest()];
    let mut message = Vec::new();
    for _ in 0..3 {
        send(&two, 0..3);
        // All of the lane: there is none left for another message, and all of it afterwards.
        sender.send(&longest, SOON).unwrap();
        assert!(matches!(sender.send(&[], SOON), Err(Error::TimedOut)));
        for _ in 0..4 {
            assert!(receiver.receive(&mut message, SOON).unwrap().is_some());
        }
    }
}

#[test]
fn a_corrupt_lane_is_reported_once_and_left_out() {
    let file = memory();
    let [one, two, gathers] = members(&file);
    let mut receiver = gathers.multi_receiver().unwrap();
    send(&one, 0..2);
    send(&two, 0..2);
    // The first header in slot 0's lane, behind header, table, slots, two rings, and the words that lanes share.
    let lane = 256 + 3 * 128 + 2 * (256 + u64::from(RING)) + 128;
    let spoil = |offset: u64| {
        let memory = Polled::of(&file, 1);
        let at = lane + offset + 256;
        memory.store32(at + 4, 4, Ordering::SeqCst).unwrap();
    };
    spoil(0);
    let said = receiver.next(SOON).unwrap_err();
    assert!(
        matches!(said, Error::CorruptLane { from: 0, .. }),
        "{said:?}"
    );
    assert_eq!(
        [next(&mut receiver), next(&mut receiver)],
        [Some((1, 0)), Some((1, 1))]
    );
    // Where the third one will be.
    spoil(256 + u64::from(RING) + 2 * 16);
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
fn a_lane_that_is_corrupt_behind_its_last_message_is_reported_too() {
    let file = memory();
    let [one, two, gathers] = members(&file);
    let mut receiver = gathers.multi_receiver().unwrap();
    send(&one, 0..1);
    send(&two, 0..1);
    // Where slot 0's second one will be.
    let second = 256 + 3 * 128 + 2 * (256 + u64::from(RING)) + 128 + 256 + 16;
    let memory = Polled::of(&file, 1);
    memory.store64(second, u64::MAX, Ordering::SeqCst).unwrap();
    assert_eq!(next(&mut receiver), Some((0, 0)));
    let said = receiver.next(SOON).map(drop);
    assert!(
        matches!(said, Err(Error::CorruptLane { from: 0, .. })),
        "{said:?}"
    );
    assert_eq!([(); 2].map(|()| next(&mut receiver)), [Some((1, 0)), None]);
}

#[test]
fn a_receiver_that_comes_again_leaves_out_a_corrupt_lane_and_hears_the_others() {
    let file = memory();
    let [one, two, gathers] = members(&file);
    send(&one, 0..2);
    send(&two, 0..2);
    drop(gathers.multi_receiver().unwrap());
    // The head of slot 0's lane, which is no place of a record.
    let head = 256 + 3 * 128 + 2 * (256 + u64::from(RING)) + 128 + 136;
    Polled::of(&file, 1)
        .store32(head, 4, Ordering::SeqCst)
        .unwrap();
    let mut receiver = gathers.multi_receiver().unwrap();
    let said = receiver.next(SOON).unwrap_err();
    assert!(
        matches!(said, Error::CorruptLane { from: 0, .. }),
        "{said:?}"
    );
    let heard = [(); 3].map(|()| next(&mut receiver));
    assert_eq!(heard, [Some((1, 0)), Some((1, 1)), None]);
}

#[test]
fn a_sender_that_spoils_the_head_of_its_lane_is_left_out() {
    let file = memory();
    let [one, two, gathers] = members(&file);
    let mut receiver = gathers.multi_receiver().unwrap();
    send(&one, 0..2);
    send(&two, 0..2);
    let message = receiver.next(SOON).unwrap().unwrap();
    assert_eq!(message.from(), 0);
    // The epoch of the receiver, in slot 0's lane.
    let epoch = 256 + 3 * 128 + 2 * (256 + u64::from(RING)) + 128 + 140;
    let memory = Polled::of(&file, 1);
    memory.store32(epoch, 77, Ordering::SeqCst).unwrap();
    for said in [message.to_vec().err(), message.done().err()] {
        let alone = matches!(said, None | Some(Error::CorruptLane { from: 0, .. }));
        assert!(alone, "{said:?}");
    }
    let said = receiver.next(SOON).map(drop);
    assert!(
        matches!(said, Err(Error::CorruptLane { from: 0, .. })),
        "{said:?}"
    );
    let heard = [(); 3].map(|()| next(&mut receiver));
    assert_eq!(heard, [Some((1, 0)), Some((1, 1)), None]);
    receiver.release().unwrap();
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

/// A sender dies after it has published, and before it has said so. Who sleeps looks at all lanes after a heartbeat, and who
/// never sleeps as often.
#[test]
fn what_a_sender_has_not_announced_is_found_by_those_who_never_sleep() {
    const READY: u64 = 256 + 3 * 128 + 2 * (256 + RING as u64) + 8;
    let file = memory();
    let [one, _, gathers] = members(&file);
    let words = Polled::of(&file, 9);
    let mut receiver = gathers.multi_receiver().unwrap();
    assert_eq!(next(&mut receiver), None);
    let mut buffer = Vec::new();
    for number in 0..2 {
        send(&one, [number]);
        words.store64(READY, 0, Ordering::Relaxed).unwrap();
        let from = match number {
            0 => {
                let mut from = None;
                test_limit::wait_until("the message is found", || {
                    from = receiver.receive(&mut buffer, Some(Duration::ZERO)).unwrap();
                    from.is_some()
                });
                from
            }
            _ => {
                receiver.set_spin(Spin::Always);
                receiver.receive(&mut buffer, Some(limit())).unwrap()
            }
        };
        assert_eq!((from, &buffer[..]), (Some(0), &number.to_le_bytes()[..]));
    }
}

/// A place that is left out counts as received, and so can end a turn in the middle of looking.
#[test]
fn a_message_behind_a_place_that_is_left_out_is_the_same_until_it_is_taken() {
    const SIZE: u32 = 1024;
    let file = tempfile::tempfile().unwrap();
    file.set_len(8192).unwrap();
    let mapping = Mapping::of(&file, 0, 8192, Access::ReadWrite).unwrap();
    let lanes = [0, 1].map(|number| Place {
        offset: 128 + u64::from(number) * (256 + u64::from(SIZE)),
        size: SIZE,
        generation: 7,
        lane: Some(Lane { shared: 0, number }),
    });
    let attach = |lane: usize, before| {
        Producer::attach(&mapping, lanes[lane], before, &mut || Ok(())).unwrap()
    };
    let send = |producer: &mut Producer<&Mapping>| {
        let space = producer.reserve(4).unwrap().unwrap();
        producer.commit(space, 4).unwrap();
        producer.publish().unwrap();
    };
    let mut stopped = attach(0, Handover::Ended);
    stopped.reserve(SIZE as usize / 4).unwrap().unwrap();
    let mut first = attach(0, Handover::MayRun);
    let mut second = attach(1, Handover::Ended);
    let mut from = MultiConsumer::attach(&mapping, lanes, 0, &mut || Ok(())).unwrap();
    send(&mut first);
    send(&mut second);
    let found = from.peek().unwrap().unwrap();
    assert_eq!(from.peek().unwrap(), Some(found));
    from.lane(found.0).advance(found.1);
    assert_eq!(from.peek().unwrap().map(|(lane, _)| lane), Some(1));
}
