// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who comes and goes, as events.

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{layout, memory, Polled};
use ivshmem_channel::{Cancel, Change, Changes, Channel, Error};
use test_limit::limit;

fn next(changes: &mut Changes<Arc<Polled>>) -> Change {
    changes.next(Some(limit())).unwrap().expect("a change")
}

#[test]
fn programs_that_come_go_fall_silent_and_return_are_told() {
    let file = memory();
    let [one, two] = [0, 1].map(|id| Polled::of(&file, id));
    let channel = Channel::create(one, 0, &layout()).unwrap();
    let me = channel.join(0, 0).unwrap();
    let join = || Channel::open(Arc::clone(&two), 0).unwrap().join(1, 0);
    let mut changes = me.changes();
    assert_eq!(changes.next(Some(Duration::from_millis(50))).unwrap(), None);
    let other = join().unwrap();
    let incarnation = other.incarnation();
    let joined = Change::Joined {
        slot: 1,
        incarnation,
        peer_id: 1,
    };
    // Whoever is there is told to all who begin to look.
    assert_eq!(next(&mut changes), joined);
    assert_eq!(next(&mut me.changes()), joined);
    let slot = 1;
    assert_eq!(next(&mut changes), Change::Lost { slot, incarnation });
    other.beat().unwrap();
    assert_eq!(next(&mut changes), Change::Returned { slot, incarnation });
    drop(other);
    assert_eq!(next(&mut changes), Change::Left { slot, incarnation });
    let again = join().unwrap();
    assert!(matches!(next(&mut changes), Change::Joined { slot: 1, .. }));
    assert_ne!(again.incarnation(), incarnation);
}

/// What a program writes into slot 1 that lost it, and was stopped before that.
fn write_over(file: &File) {
    const SLOT: u64 = 256 + 128;
    // All but the owner: its incarnation, heartbeat, peer ID, vector, lock domain and machine, and what proves two of them.
    let words = [77u32, 9, 7, 0, 0, 0, 77 ^ 7].map(u32::to_le_bytes);
    file.write_all_at(&words.concat(), SLOT + 8).unwrap();
}

#[test]
fn a_program_that_lost_a_slot_is_neither_the_end_nor_the_return_of_the_one_that_has_it() {
    let file = memory();
    let [one, two] = [0, 1].map(|id| Polled::of(&file, id));
    let layout = layout().heartbeat(Duration::from_millis(10), limit());
    let channel = Channel::create(one, 0, &layout).unwrap();
    let me = channel.join(0, 0).unwrap();
    let other = Channel::open(two, 0).unwrap().join(1, 0).unwrap();
    let mut changes = me.changes();
    assert!(matches!(next(&mut changes), Change::Joined { slot: 1, .. }));
    let before = me.presence(1).unwrap();
    write_over(&file);
    assert_eq!(me.presence(1).unwrap(), before);
    let several_looks = Some(Duration::from_millis(100));
    assert_eq!(changes.next(several_looks).unwrap(), None);
    drop(other);
    assert!(matches!(next(&mut changes), Change::Left { slot: 1, .. }));
}

#[test]
fn a_program_that_lost_a_slot_does_not_live_for_one_that_is_lost() {
    let file = memory();
    let [one, two] = [0, 1].map(|id| Polled::of(&file, id));
    let channel = Channel::create(one, 0, &layout()).unwrap();
    let me = channel.join(0, 0).unwrap();
    let other = Channel::open(two, 0).unwrap().join(1, 0).unwrap();
    let mut changes = me.changes();
    assert!(matches!(next(&mut changes), Change::Joined { slot: 1, .. }));
    assert!(matches!(next(&mut changes), Change::Lost { slot: 1, .. }));
    write_over(&file);
    let several_looks = Some(Duration::from_millis(50));
    assert_eq!(changes.next(several_looks).unwrap(), None);
    other.beat().unwrap();
    let returned = next(&mut changes);
    assert!(matches!(returned, Change::Returned { slot: 1, .. }));
}

#[test]
fn who_waits_for_changes_lives_and_can_be_cancelled() {
    let file = memory();
    let [one, two] = [0, 1].map(|id| Polled::of(&file, id));
    let channel = Channel::create(one, 0, &layout()).unwrap();
    let me = channel.join(0, 0).unwrap();
    let other = Channel::open(two, 0).unwrap().join(1, 0).unwrap();
    let mut mine = me.changes();
    let mut theirs = other.changes();
    let cancel = Cancel::new().unwrap();
    theirs.set_cancel(&cancel);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(matches!(next(&mut mine), Change::Joined { .. }));
            // Five times as long as a program may be silent. On a machine that is busy one can be late, but not for ever.
            let (begin, mut lost) = (Instant::now(), false);
            while lost || begin.elapsed() < Duration::from_millis(500) {
                assert!(begin.elapsed() < limit(), "it does not return");
                match mine.next(Some(Duration::from_millis(10))).unwrap() {
                    Some(Change::Lost { .. }) => lost = true,
                    Some(Change::Returned { .. }) => lost = false,
                    other => assert_eq!(other, None),
                }
            }
            cancel.cancel();
        });
        assert!(matches!(theirs.next(None), Ok(Some(Change::Joined { .. }))));
        loop {
            match theirs.next(None) {
                // On a machine that is busy one can be late.
                Ok(Some(Change::Lost { .. } | Change::Returned { .. })) => {}
                other => {
                    assert!(matches!(other, Err(Error::Cancelled)), "{other:?}");
                    break;
                }
            }
        }
    });
}
