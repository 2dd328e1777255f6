// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Each interrupt is taken by one of the readers of an open file, and by one only: `Cursor` of the driver.

use std::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};

use loom::sync::atomic::{fence, AtomicU64};
use loom::sync::Arc;
use loom::thread;

/// A step that can be left out, to see that the model notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// As the driver is.
    None,
    /// A count that is behind what was seen is not told from one that is ahead.
    OldCountIsTaken,
    /// What was seen is stored, not exchanged.
    NoExchange,
}

/// One vector of one file.
struct Cursor {
    fault: Fault,
    seq: AtomicU64,
    seen: AtomicU64,
}

impl Cursor {
    /// `Events::count`.
    fn interrupt(&self) {
        fence(SeqCst);
        self.seq.fetch_add(1, AcqRel);
        fence(SeqCst);
    }

    /// `Cursor::take_vector`.
    fn take(&self) -> u64 {
        loop {
            let seen = self.seen.load(Relaxed);
            let count = self.seq.load(Relaxed).wrapping_sub(seen);
            let is_old = count > u64::MAX / 2 && self.fault != Fault::OldCountIsTaken;
            if count == 0 || is_old {
                return 0;
            }
            if self.exchange(seen, seen.wrapping_add(count)) {
                return count;
            }
        }
    }

    fn exchange(&self, seen: u64, new: u64) -> bool {
        if self.fault == Fault::NoExchange {
            self.seen.store(new, SeqCst);
            return true;
        }
        fence(SeqCst);
        let won = self.seen.compare_exchange(seen, new, AcqRel, Relaxed);
        fence(SeqCst);
        won.is_ok()
    }

    /// `Cursor::put_back`.
    fn put_back(&self, count: u64) {
        self.seen.fetch_sub(count, Relaxed);
    }
}

/// Two interrupts, a reader, and one that may not be able to deliver what it took. All that is taken and not put
/// back is two.
fn two_readers(fault: Fault, delivers: bool) {
    loom::model(move || {
        let cursor = Arc::new(Cursor {
            fault,
            seq: AtomicU64::new(0),
            seen: AtomicU64::new(0),
        });
        let interrupted = cursor.clone();
        let handler = thread::spawn(move || {
            interrupted.interrupt();
            interrupted.interrupt();
        });
        let read = cursor.clone();
        let other = thread::spawn(move || {
            let count = read.take();
            if delivers {
                return count;
            }
            read.put_back(count);
            0
        });
        let ours = cursor.take();
        handler.join().unwrap();
        let theirs = other.join().unwrap();
        assert!(ours <= 2 && theirs <= 2);
        assert_eq!(ours + theirs + cursor.take(), 2);
    });
}

#[test]
fn each_interrupt_is_taken_once() {
    two_readers(Fault::None, true);
}

#[test]
fn what_is_put_back_is_taken_again() {
    two_readers(Fault::None, false);
}

#[test]
#[should_panic]
fn not_if_an_old_count_is_taken() {
    two_readers(Fault::OldCountIsTaken, true);
}

#[test]
#[should_panic]
fn not_without_the_exchange() {
    two_readers(Fault::NoExchange, true);
}
