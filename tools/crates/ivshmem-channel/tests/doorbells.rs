// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who is rung, and how often: one sleep costs one doorbell, and who does not sleep costs none.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{join, memory, End, Polled, GATHERS, RING, SOON};
use ivshmem_channel::Error;

const ZERO: Option<Duration> = Some(Duration::ZERO);

fn ends() -> ([Arc<Polled>; 3], [End; 3]) {
    let file = memory();
    let ends = [0, 1, 2].map(|id| Polled::with_vectors(&file, id, 1));
    let members = join(&ends);
    (ends, members)
}

fn queue(sender: &mut ivshmem_channel::Sender<Arc<Polled>>, messages: u32) {
    for number in 0..messages {
        sender.queue(&number.to_le_bytes(), SOON).unwrap();
    }
    sender.flush().unwrap();
}

#[test]
fn a_batch_for_one_that_sleeps_costs_one_and_for_one_that_does_not_none() {
    let (ends, [one, two, _]) = ends();
    let mut sender = one.sender(1).unwrap();
    let mut receiver = two.receiver(0).unwrap();
    for sleep in 1..5 {
        assert!(receiver.next(SOON).unwrap().is_none());
        queue(&mut sender, 10);
        assert_eq!(ends[0].rings(), sleep);
        queue(&mut sender, 10);
        assert_eq!(ends[0].rings(), sleep, "nobody has slept");
        let mut message = Vec::new();
        for number in 0..20u32 {
            assert!(receiver.receive(&mut message, SOON).unwrap());
            assert_eq!(message, (number % 10).to_le_bytes());
        }
    }
    assert_eq!(ends[1].rings(), 0, "nobody waited for room");
}

#[test]
fn who_waits_for_room_is_rung_once() {
    let (ends, [one, two, _]) = ends();
    let mut sender = one.sender(1).unwrap();
    let mut receiver = two.receiver(0).unwrap();
    while sender.send(&[0; 8], SOON).is_ok() {}
    assert_eq!(ends[1].rings(), 0);
    let mut message = Vec::new();
    for _ in 0..RING / 16 - 1 {
        assert!(receiver.receive(&mut message, SOON).unwrap());
    }
    receiver.release().unwrap();
    assert_eq!(ends[1].rings(), 1);
    // Nothing of what waited was sent.
    assert!(!receiver.receive(&mut message, SOON).unwrap());
}

#[test]
fn several_senders_ring_once_for_a_sleep() {
    let (ends, [one, two, gathers]) = ends();
    let mut receiver = gathers.multi_receiver().unwrap();
    let mut senders = [&one, &two].map(|member| member.sender(GATHERS).unwrap());
    for sleep in 1..5 {
        assert!(receiver.next(SOON).unwrap().is_none());
        for sender in &mut senders {
            queue(sender, 10);
            queue(sender, 10);
        }
        assert_eq!([0, 1, 2].map(|end: usize| ends[end].rings()), [sleep, 0, 0]);
        let mut message = Vec::new();
        for _ in 0..40 {
            assert!(receiver.receive(&mut message, SOON).unwrap().is_some());
        }
    }
}

#[test]
fn who_looks_only_is_rung_if_it_armed_before() {
    let (ends, [one, two, gathers]) = ends();
    let (mut sender, mut receiver) = (one.sender(1).unwrap(), two.receiver(0).unwrap());
    let mut message = [0; 4];
    assert_eq!(receiver.receive_into(&mut message, ZERO).unwrap(), None);
    assert!(receiver.arm().unwrap());
    queue(&mut sender, 1);
    assert_eq!(ends[0].rings(), 1);
    assert!(!receiver.arm().unwrap(), "there is one");
    let short = receiver.receive_into(&mut message[..3], ZERO);
    assert!(matches!(short, Err(Error::TooLong { len: 4, max: 3 })));
    assert_eq!(receiver.receive_into(&mut message, ZERO).unwrap(), Some(4));
    // Several senders.
    let mut receiver = gathers.multi_receiver().unwrap();
    let mut to_all = two.sender(GATHERS).unwrap();
    assert!(receiver.arm().unwrap());
    queue(&mut to_all, 1);
    assert_eq!(ends[1].rings(), 1);
    assert!(!receiver.arm().unwrap(), "there is one");
}

#[test]
fn who_tries_only_is_rung_for_room_if_it_armed_before() {
    let (ends, [one, two, _]) = ends();
    let (mut sender, mut receiver) = (one.sender(1).unwrap(), two.receiver(0).unwrap());
    assert!(!sender.arm(1).unwrap(), "there is room");
    sender.send(&vec![0; sender.longest()], ZERO).unwrap();
    assert!(sender.arm(1).unwrap());
    assert_eq!(ends[1].rings(), 0);
    assert!(receiver.receive(&mut Vec::new(), ZERO).unwrap());
    assert_eq!(ends[1].rings(), 1);
    sender.send(&[1], ZERO).unwrap();
}
