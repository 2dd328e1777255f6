// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Messages and values of one type.

mod common;

use std::time::Duration;

use common::{members, memory, Polled, GATHERS};
use ivshmem_channel::{Channel, Error, Layout, Typed};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const NOW: Option<Duration> = Some(Duration::ZERO);

#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, PartialEq)]
#[repr(C)]
struct Position {
    x: f64,
    y: f32,
    kind: u32,
}

fn position(n: u32) -> Position {
    Position {
        x: f64::from(n) / 3.0,
        y: n as f32,
        kind: n,
    }
}

#[test]
fn values_arrive_and_others_are_refused_and_left_behind() {
    let file = memory();
    let [one, two, gathers] = members(&file);
    let mut to = Typed::new(one.sender(1).unwrap());
    let mut from = Typed::<Position, _>::new(two.receiver(0).unwrap());
    assert_eq!(from.receive(NOW).unwrap(), None);
    for n in 0..1000 {
        to.send(&position(n), NOW).unwrap();
        assert_eq!(from.receive(NOW).unwrap(), Some(position(n)));
    }
    to.get_mut().send(b"another", NOW).unwrap();
    to.send(&position(7), NOW).unwrap();
    let refused = from.receive(NOW);
    let is_right = |error: &Error| {
        matches!(
            error,
            Error::OtherType {
                from: 0,
                len: 7,
                expected: 16
            }
        )
    };
    assert!(refused.as_ref().is_err_and(is_right), "{refused:?}");
    assert_eq!(from.receive(NOW).unwrap(), Some(position(7)));
    let mut all = Typed::<Position, _>::new(gathers.multi_receiver().unwrap());
    let mut to = Typed::new(two.sender(GATHERS).unwrap());
    to.send(&position(8), NOW).unwrap();
    assert_eq!(all.receive(NOW).unwrap(), Some((1, position(8))));
}

#[test]
fn values_are_published() {
    let file = memory();
    let layout = Layout::new(2).topic(1, 4, 64);
    let channel = Channel::create(Polled::of(&file, 0), 0, &layout).unwrap();
    let [one, two] = [0, 1].map(|slot| channel.join(slot, 0).unwrap());
    let mut publisher = Typed::new(two.publisher(0).unwrap());
    let mut subscriber = Typed::<Position, _>::new(one.subscriber(0).unwrap());
    for n in 0..3 {
        publisher.publish(&position(n)).unwrap();
    }
    let (first, missed) = subscriber.next(NOW).unwrap().unwrap();
    assert_eq!(missed, first.kind);
    assert_eq!(subscriber.newest(NOW).unwrap(), Some(position(2)));
    assert_eq!(subscriber.newest(NOW).unwrap(), None);
    publisher.get_mut().publish(b"another").unwrap();
    let refused = subscriber.newest(NOW);
    assert!(
        matches!(
            refused,
            Err(Error::OtherType {
                from: 1,
                len: 7,
                ..
            })
        ),
        "{refused:?}"
    );
}
