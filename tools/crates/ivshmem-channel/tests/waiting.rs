// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Waits of programs on the real server: several receivers at a time, and waits that are ended.

mod common;
mod peers;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{layout, memory, Polled, GATHERS};
use ivshmem_channel::{select, Cancel, Channel, Error, Member, Spin};
use ivshmem_peer::Peer;
use peers::{members, Members};
use test_limit::limit;

const ROUNDS: u32 = 1000;

#[test]
fn who_can_be_cancelled_hears_each_ring() {
    let Members { members, _region } = members();
    let [one, two, _] = &members;
    let cancel = Cancel::new().unwrap();
    let turns = |me: &Member<Arc<Peer>>, other: u32, first: bool| {
        let (mut to, mut from) = (me.sender(other).unwrap(), me.receiver(other).unwrap());
        from.set_cancel(&cancel);
        from.set_spin(Spin::Never);
        let mut message = Vec::new();
        for round in 0..ROUNDS {
            if first || round > 0 {
                to.send(&round.to_le_bytes(), None).unwrap();
            }
            assert!(from.receive(&mut message, Some(limit())).unwrap());
        }
        if !first {
            to.send(&[], None).unwrap();
        }
    };
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| turns(one, 1, true));
        turns(two, 0, false);
    });
    // Otherwise each round takes a second.
    assert!(begin.elapsed() < limit(), "{:?}", begin.elapsed());
}

#[test]
fn every_wait_can_be_ended() {
    let Members { members, _region } = members();
    let [one, two, gathers] = &members;
    // A ring that is full.
    let mut sender = one.sender(1).unwrap();
    while sender.send(&[0; 64], Some(Duration::ZERO)).is_ok() {}
    for spin in [Spin::Never, Spin::Always] {
        let cancel = Cancel::new().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sender.set_spin(spin);
                sender.set_cancel(&cancel);
                let ended = sender.send(&[0; 64], None);
                assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
            });
            scope.spawn(|| {
                let mut receiver = one.receiver(1).unwrap();
                receiver.set_spin(spin);
                receiver.set_cancel(&cancel);
                let ended = receiver.next(None).map(drop);
                assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
            });
            scope.spawn(|| {
                let mut receiver = gathers.multi_receiver().unwrap();
                receiver.set_spin(spin);
                receiver.set_cancel(&cancel);
                let ended = receiver.next(None).map(drop);
                assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
                let ended = select(&mut [&mut receiver], None);
                assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
            });
            std::thread::sleep(Duration::from_millis(50));
            cancel.cancel();
        });
        // What is there is received all the same.
        let mut receiver = two.receiver(0).unwrap();
        receiver.set_cancel(&cancel);
        assert_eq!(receiver.next(None).unwrap().unwrap().len(), 64);
    }
}

#[test]
fn one_that_cannot_be_rung_can_be_cancelled_and_hears() {
    let file = memory();
    let layout = layout().heartbeat(Duration::from_secs(60), Duration::from_secs(120));
    let channel = Channel::create(Polled::of(&file, 0), 0, &layout).unwrap();
    let one = channel.join(0, 0).unwrap();
    let two = Channel::open(Polled::of(&file, 1), 0).unwrap();
    let two = two.join(1, 0).unwrap();
    let cancel = Cancel::new().unwrap();
    let mut receiver = two.receiver(0).unwrap();
    receiver.set_cancel(&cancel);
    let received = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let mut message = Vec::new();
            while receiver.receive(&mut message, None)? {
                received.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Error>(())
        });
        one.sender(1).unwrap().send(b"hello", None).unwrap();
        let arrived = || received.load(Ordering::Relaxed) == 1;
        test_limit::wait_until("the message arrives", arrived);
        cancel.cancel();
        assert!(matches!(waits.join().unwrap(), Err(Error::Cancelled)));
    });
}

/// Messages of a ring with one sender and of one with several, to two members, arrive at a thread that sleeps for both.
#[test]
fn one_thread_receives_from_all() {
    let Members { members, _region } = members();
    let [one, two, gathers] = &members;
    let mut single = two.receiver(0).unwrap();
    let mut multi = gathers.multi_receiver().unwrap();
    let none = select(
        &mut [&mut single, &mut multi],
        Some(Duration::from_millis(5)),
    );
    assert!(none.unwrap().is_empty());
    std::thread::scope(|scope| {
        for to in [1, GATHERS] {
            scope.spawn(move || {
                let mut sender = one.sender(to).unwrap();
                for round in 0..ROUNDS {
                    sender.send(&round.to_le_bytes(), None).unwrap();
                    if round % 16 == 0 {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
            });
        }
        let mut next = [0; 2];
        let mut message = Vec::new();
        while next != [ROUNDS; 2] {
            let ready = select(&mut [&mut single, &mut multi], Some(limit())).unwrap();
            assert!(!ready.is_empty(), "{next:?}");
            for index in ready {
                let found = match index {
                    0 => single.receive(&mut message, Some(Duration::ZERO)).unwrap(),
                    _ => multi.receive(&mut message, Some(Duration::ZERO)).unwrap() == Some(0),
                };
                assert!(found);
                assert_eq!(message, u32::to_le_bytes(next[index]));
                next[index] += 1;
            }
        }
    });
}
