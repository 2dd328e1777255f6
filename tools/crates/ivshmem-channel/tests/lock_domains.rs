// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Whose lock a slot's words tell of, if a program that lost the slot wrote over some of them.

mod common;

use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use common::{layout, memory, Polled};
use ivshmem::{Memory, SharedFile};
use ivshmem_channel::{Channel, Error};

/// The lock domain of slot 0.
const DOMAIN: u64 = 256 + 24;

#[test]
fn a_live_program_is_not_taken_for_ended_by_the_word_of_its_predecessor() {
    let file = memory();
    let end = || Arc::new(SharedFile::of(file.try_clone().unwrap()).unwrap());
    let minute = Duration::from_secs(60);
    let layout = layout().heartbeat(minute, 2 * minute);
    let channel = Channel::create(end(), 0, &layout).unwrap();
    let words = Polled::of(&file, 9);
    let domain = || words.load32(DOMAIN, Ordering::Relaxed).unwrap();
    let first = channel.join(0, 0).unwrap();
    let of_first = domain();
    assert_ne!(of_first, 0);
    drop(first);
    // One of another machine, of whose lock nothing is known here.
    let other = Channel::open(Polled::of(&file, 1), 0).unwrap();
    let other = other.join(0, 0).unwrap();
    assert_eq!(domain(), 0);
    // The first one was stopped before it wrote this, and ends before the next word.
    words.store32(DOMAIN, of_first, Ordering::Relaxed).unwrap();
    let taken = channel.joining().timeout(Duration::ZERO).join(0, 0);
    assert!(matches!(taken, Err(Error::SlotTaken(0))), "{taken:?}");
    other.beat().unwrap();
}
