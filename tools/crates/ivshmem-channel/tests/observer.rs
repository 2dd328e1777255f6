// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who has joined, as seen by a program that has not.

mod common;

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use common::{layout, memory, Polled, SIZE};
use ivshmem_channel::{Channel, Error, Observer, Presence};
use test_limit::wait_until;

/// What the observer knows of slot 1 when it knows it, while `meanwhile` happens again and again.
fn known(observer: &mut Observer<Arc<Polled>>, meanwhile: impl Fn()) -> Presence {
    let mut found = None;
    wait_until("it is known who is there", || {
        meanwhile();
        found = observer.presence(1).unwrap();
        std::thread::sleep(Duration::from_millis(1));
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn who_lives_is_told_from_who_is_lost_and_nothing_is_written() {
    let file = memory();
    let [one, two] = [0, 1].map(|id| Polled::of(&file, id));
    let channel = Channel::create(one, 0, &layout()).unwrap();
    let mut observer = channel.observe();
    assert_eq!(observer.presence(1).unwrap(), Some(Presence::Absent));
    let member = Channel::open(two, 0).unwrap().join(1, 0).unwrap();
    let (incarnation, peer_id) = (member.incarnation(), 1);
    // One look does not tell a program that lives from what one has left behind.
    assert_eq!(observer.presence(1).unwrap(), None);
    let present = Presence::Present {
        incarnation,
        peer_id,
    };
    let beat = || member.beat().unwrap();
    // On a machine that is busy it may have been silent for too long.
    wait_until("it is seen to live", || {
        known(&mut observer, beat) == present
    });

    let contents = || {
        let mut bytes = vec![0; SIZE];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    let before = contents();
    let lost = Presence::Lost { incarnation };
    // Another one knows nothing of before.
    assert_eq!(known(&mut channel.observe(), || ()), lost);
    wait_until("it is lost", || known(&mut observer, || ()) == lost);
    assert!(contents() == before, "who only looks has written");

    drop(member);
    assert_eq!(observer.presence(1).unwrap(), Some(Presence::Absent));
    assert!(matches!(observer.presence(3), Err(Error::NoSuch(_))));
    channel.reset().unwrap();
    assert!(matches!(observer.presence(1), Err(Error::Reset)));
}
