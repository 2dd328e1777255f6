// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! No wake-up is lost between interrupts, sleepers and a changing subscription, and an interrupt is signalled to
//! an eventfd exactly once: `Events`, `FanIn` and `WaitQueue` of the driver.
//!
//! A sleeper that nobody wakes is a thread that waits for ever, which loom reports as a deadlock.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

use loom::cell::UnsafeCell;
use loom::sync::atomic::{fence, AtomicU64, AtomicUsize};
use loom::sync::{Arc, Mutex, Notify};
use loom::thread;

/// A step that can be left out, to see that the model notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// As the driver is.
    None,
    /// The waker does not order its condition before its look at the queue.
    NoBarrierOfTheWaker,
    /// The sleeper does not order its entering before its look at the condition.
    NoBarrierOfTheSleeper,
    /// The entry leaves without a second look at the file's queue.
    NoSecondLook,
    /// The bit of an entry that leaves is cleared without ordering.
    NoOrderWhenLeaving,
    /// Nothing orders entering the vector's queue before the look at the condition.
    NoBarrierAfterJoining,
    /// Nothing orders the look at who has joined before the look at the condition where somebody else has.
    NoBarrierWhereJoined,
    /// The bit says that the entry is in the vector's queue before it is.
    BitBeforeEntry,
    /// The new vectors are not joined by who changes the subscription.
    SubscriberDoesNotJoin,
    /// Nothing orders changing the subscription before the look which vectors are joined.
    NoOrderOfTheSubscriber,
    /// Binding reads the count before it says that there is an eventfd.
    CountReadTooEarly,
    /// The handler signals whatever is bound.
    NoSince,
    /// Who replaces an eventfd takes what was seen, and is still to be signalled, for pending.
    SeenIsNotSignalled,
    /// A file that is closed does not take the lock of a queue whose bit is clear.
    NoLockWhenClosing,
}

/// Kernel's fully ordered read-modify-write operations have a full barrier on both sides.
fn full<R>(operation: impl FnOnce() -> R) -> R {
    fence(SeqCst);
    let result = operation();
    fence(SeqCst);
    result
}

/// A `struct wait_queue_head`: a list behind a lock, and a look without it whether the list is empty.
#[derive(Debug)]
struct Queue<T> {
    list: Mutex<Vec<T>>,
    len: AtomicUsize,
}

impl<T: Clone + PartialEq> Queue<T> {
    fn new() -> Self {
        Self {
            list: Mutex::new(Vec::new()),
            len: AtomicUsize::new(0),
        }
    }

    fn is_active(&self) -> bool {
        self.len.load(Relaxed) != 0
    }

    fn locked<R>(&self, f: impl FnOnce(&mut Vec<T>) -> R) -> R {
        let mut list = self.list.lock().unwrap();
        let result = f(&mut list);
        self.len.store(list.len(), Relaxed);
        result
    }

    /// Adds to the list, which is locked.
    fn add(&self, list: &mut Vec<T>, entry: T) {
        list.push(entry);
        self.len.store(list.len(), Relaxed);
    }
}

/// One open file and one sleeper of it; two vectors.
struct World {
    fault: Fault,
    seq: [AtomicU64; 2],
    /// In the queue of a vector there is, or is not, the file's entry.
    sources: [Queue<()>; 2],
    file: Queue<()>,
    selected: AtomicU64,
    joined: AtomicU64,
    sleeper: Notify,
    /// The memory of the file and of its entry: read by who passes a wake-up on, written when it is freed.
    memory: UnsafeCell<()>,
}

impl World {
    fn new(fault: Fault, selected: u64) -> Arc<Self> {
        Arc::new(Self {
            fault,
            seq: [AtomicU64::new(0), AtomicU64::new(0)],
            sources: [Queue::new(), Queue::new()],
            file: Queue::new(),
            selected: AtomicU64::new(selected),
            joined: AtomicU64::new(0),
            sleeper: Notify::new(),
            memory: UnsafeCell::new(()),
        })
    }

    /// `Events::count` and `Events::notify`, without eventfds.
    fn interrupt(&self, vector: usize) {
        if self.fault == Fault::NoBarrierOfTheWaker {
            self.seq[vector].fetch_add(1, AcqRel);
        } else {
            full(|| self.seq[vector].fetch_add(1, AcqRel));
        }
        if !self.sources[vector].is_active() {
            return;
        }
        self.sources[vector].locked(|list| {
            if !list.is_empty() && !self.pass_on(1 << vector) {
                list.clear();
            }
        });
    }

    /// An interrupt of vector 0 that was counted, and seen, before: only its wake-up is left.
    fn passes_on_what_was_seen(&self) {
        self.sources[0].locked(|list| {
            if !list.is_empty() && !self.pass_on(1) {
                list.clear();
            }
        });
    }

    /// `Shared::wake`, under the lock of the vector's queue: false if the entry is to leave.
    fn pass_on(&self, bit: u64) -> bool {
        let again = self.pass_on_in_use(bit);
        // `list_del()` of an entry that leaves comes last.
        self.memory.with(|_| ());
        again
    }

    fn pass_on_in_use(&self, bit: u64) -> bool {
        let wanted = || self.selected.load(Relaxed) & bit != 0 && self.file.is_active();
        if !wanted() {
            if self.fault == Fault::NoOrderWhenLeaving {
                self.joined.fetch_sub(bit, Relaxed);
            } else {
                full(|| self.joined.fetch_sub(bit, AcqRel));
            }
            if self.fault == Fault::NoSecondLook || !wanted() {
                return false;
            }
            self.joined.fetch_add(bit, Relaxed);
        }
        self.file.locked(|list| {
            if !list.is_empty() {
                self.sleeper.notify();
            }
        });
        true
    }

    /// `FanIn::join`.
    fn join(&self) {
        let missing = self.selected.load(Relaxed) & !self.joined.load(Relaxed);
        for vector in (0..2).filter(|vector| missing & (1 << vector) != 0) {
            self.sources[vector].locked(|list| {
                if self.joined.load(Relaxed) & (1 << vector) != 0 {
                    return;
                }
                if self.fault == Fault::BitBeforeEntry {
                    self.joined.fetch_add(1 << vector, Relaxed);
                    self.sources[vector].add(list, ());
                } else {
                    self.sources[vector].add(list, ());
                    self.joined.fetch_add(1 << vector, Release);
                }
            });
        }
        let left_out = match missing {
            0 => Fault::NoBarrierWhereJoined,
            _ => Fault::NoBarrierAfterJoining,
        };
        if self.fault != left_out {
            fence(SeqCst);
        }
    }

    /// The drop of `FanIn`, and freeing it.
    fn close(&self) {
        let clear = self.joined.load(Relaxed) & 1 == 0;
        if !clear || self.fault != Fault::NoLockWhenClosing {
            self.sources[0].locked(|list| {
                if self.joined.load(Relaxed) & 1 != 0 {
                    list.clear();
                }
            });
        }
        self.memory.with_mut(|_| ());
    }

    /// `FanIn::select`.
    fn select(&self, mask: u64) {
        if self.fault == Fault::NoOrderOfTheSubscriber {
            self.selected.store(mask, Relaxed);
        } else {
            full(|| self.selected.swap(mask, AcqRel));
        }
        if self.fault != Fault::SubscriberDoesNotJoin {
            self.join();
        }
        fence(SeqCst);
        if self.file.is_active() {
            self.file.locked(|_| self.sleeper.notify());
        }
    }

    fn is_pending(&self) -> bool {
        let selected = self.selected.load(Relaxed);
        (0..2).any(|vector| selected & (1 << vector) != 0 && self.seq[vector].load(Acquire) != 0)
    }

    /// `wait_in` with `File::wait`'s condition.
    fn sleep(&self) {
        loop {
            self.enter();
            self.join();
            if self.is_pending() {
                return;
            }
            self.sleeper.wait();
            if self.is_pending() {
                return;
            }
        }
    }

    /// `prepare_to_wait_event()` or `poll_wait()`.
    fn enter(&self) {
        self.file.locked(|list| {
            if list.is_empty() {
                list.push(());
            }
        });
        if self.fault != Fault::NoBarrierOfTheSleeper {
            fence(SeqCst);
        }
    }
}

fn check(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// A thread begins to sleep while an interrupt comes.
fn one_interrupt(fault: Fault) {
    check(move || {
        let world = World::new(fault, 1);
        let interrupted = world.clone();
        let handler = thread::spawn(move || interrupted.interrupt(0));
        world.sleep();
        handler.join().unwrap();
    });
}

/// A thread begins to sleep while an interrupt comes, and another one, which waits for something else, too.
fn two_sleepers(fault: Fault) {
    check(move || {
        let world = World::new(fault, 1);
        let (interrupted, other) = (world.clone(), world.clone());
        let handler = thread::spawn(move || interrupted.interrupt(0));
        let second = thread::spawn(move || {
            other.enter();
            other.join();
        });
        world.sleep();
        handler.join().unwrap();
        second.join().unwrap();
    });
}

/// The file has an entry that the first interrupt, of which nobody has to hear, finds of no use, while a thread
/// begins to sleep; then comes the one that it waits for.
fn an_entry_leaves(fault: Fault) {
    check(move || {
        let world = World::new(fault, 1);
        world.join();
        let interrupted = world.clone();
        let handler = thread::spawn(move || {
            interrupted.passes_on_what_was_seen();
            interrupted.interrupt(0);
        });
        world.sleep();
        handler.join().unwrap();
    });
}

/// Somebody polls for vector 0, and is not asked again; the subscription becomes vector 1, which is then rung.
fn the_subscription_changes(fault: Fault) {
    check(move || {
        let world = World::new(fault, 1);
        world.enter();
        world.join();
        let other = world.clone();
        let handler = thread::spawn(move || other.interrupt(1));
        world.select(2);
        while !world.is_pending() {
            world.sleeper.wait();
        }
        handler.join().unwrap();
    });
}

/// Somebody polls, and is not asked again. The file is not subscribed to vector 0 any more, but still has an entry
/// there, which the first interrupt, that was seen otherwise, finds of no use; it becomes subscribed to it again.
fn the_subscription_comes_back(fault: Fault) {
    check(move || {
        let world = World::new(fault, 1);
        world.enter();
        world.join();
        world.selected.store(0, Relaxed);
        let other = world.clone();
        let handler = thread::spawn(move || {
            other.passes_on_what_was_seen();
            other.interrupt(0);
        });
        world.select(1);
        while !world.is_pending() {
            world.sleeper.wait();
        }
        handler.join().unwrap();
    });
}

/// A file that nobody waits on any more is closed while an interrupt comes.
fn a_file_is_closed(fault: Fault) {
    check(move || {
        let world = World::new(fault, 1);
        world.join();
        let interrupted = world.clone();
        let handler = thread::spawn(move || interrupted.interrupt(0));
        world.close();
        handler.join().unwrap();
    });
}

/// What is bound to a vector, under its lock.
struct Bindings {
    /// Which eventfd, and its `since`, if there is one.
    binding: Option<(usize, u64)>,
    /// The count that was signalled last.
    signalled: u64,
}

/// A vector with the binding of one file, and two eventfds for it.
struct Bound {
    fault: Fault,
    seq: AtomicU64,
    count: AtomicU64,
    bindings: Mutex<Bindings>,
    eventfds: [AtomicU64; 2],
}

impl Bound {
    fn new(fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            fault,
            seq: AtomicU64::new(0),
            count: AtomicU64::new(0),
            bindings: Mutex::new(Bindings {
                binding: None,
                signalled: 0,
            }),
            eventfds: [AtomicU64::new(0), AtomicU64::new(0)],
        })
    }

    /// `Events::count` and `Events::notify`, without waiters.
    fn interrupt(&self) {
        let seq = full(|| self.seq.fetch_add(1, AcqRel)) + 1;
        if self.count.load(Relaxed) != 0 {
            let mut bindings = self.bindings.lock().unwrap();
            match bindings.binding {
                Some((eventfd, since)) if seq > since || self.fault == Fault::NoSince => {
                    self.eventfds[eventfd].fetch_add(1, Relaxed);
                }
                _ => {}
            }
            bindings.signalled = bindings.signalled.max(seq);
        }
    }

    /// `Events::bind`; returns the count since which the eventfd is signalled.
    fn bind(&self, eventfd: usize, seen: u64) -> u64 {
        let mut bindings = self.bindings.lock().unwrap();
        let early = self.seq.load(Acquire);
        let replaced = bindings.binding.take();
        self.count.store(1, Relaxed);
        fence(SeqCst);
        let now = match self.fault {
            Fault::CountReadTooEarly => early,
            _ => self.seq.load(Acquire),
        };
        let since = replaced.map_or(now, |(_, since)| since.max(bindings.signalled));
        if since > seen || (self.fault == Fault::SeenIsNotSignalled && since != seen) {
            self.eventfds[eventfd].fetch_add(1, Relaxed);
        }
        bindings.binding = Some((eventfd, since));
        since
    }

    fn signalled(&self, eventfd: usize) -> u64 {
        self.eventfds[eventfd].load(Relaxed)
    }
}

/// Interrupts come while an eventfd is bound: it counts those after the binding, and 1 for those before.
fn binding(fault: Fault) {
    check(move || {
        let bound = Bound::new(fault);
        let interrupted = bound.clone();
        let handler = thread::spawn(move || {
            interrupted.interrupt();
            interrupted.interrupt();
        });
        let at = bound.bind(0, 0);
        handler.join().unwrap();
        assert_eq!(bound.signalled(0), (2 - at) + u64::from(at != 0));
    });
}

/// An interrupt comes, and perhaps the file has seen it, while an eventfd is replaced: one of the two counts it. The new
/// one does at any rate if the file has not seen it.
fn replacing(fault: Fault) {
    check(move || {
        let bound = Bound::new(fault);
        bound.bind(0, 0);
        let interrupted = bound.clone();
        let handler = thread::spawn(move || interrupted.interrupt());
        let seen = bound.seq.load(Acquire);
        bound.bind(1, seen);
        handler.join().unwrap();
        match seen {
            0 => assert_eq!(bound.signalled(1), 1),
            _ => assert_eq!(bound.signalled(0) + bound.signalled(1), 1),
        }
    });
}

#[test]
fn who_begins_to_sleep_hears_of_the_interrupt() {
    one_interrupt(Fault::None);
}

#[test]
#[should_panic]
fn not_without_the_waker_s_barrier() {
    one_interrupt(Fault::NoBarrierOfTheWaker);
}

#[test]
#[should_panic]
fn not_without_the_sleeper_s_barrier() {
    an_entry_leaves(Fault::NoBarrierOfTheSleeper);
}

#[test]
#[should_panic]
fn not_without_the_barrier_after_joining() {
    one_interrupt(Fault::NoBarrierAfterJoining);
}

#[test]
fn two_who_begin_to_sleep_hear_of_the_interrupt() {
    two_sleepers(Fault::None);
}

#[test]
#[should_panic]
fn not_if_the_bit_comes_before_the_entry() {
    two_sleepers(Fault::BitBeforeEntry);
}

#[test]
#[should_panic]
fn not_without_the_barrier_where_another_has_joined() {
    two_sleepers(Fault::NoBarrierWhereJoined);
}

#[test]
fn an_entry_that_leaves_is_replaced() {
    an_entry_leaves(Fault::None);
}

#[test]
#[should_panic]
fn not_without_the_second_look() {
    an_entry_leaves(Fault::NoSecondLook);
}

#[test]
#[should_panic]
fn not_without_the_order_when_leaving() {
    an_entry_leaves(Fault::NoOrderWhenLeaving);
}

#[test]
fn a_poller_hears_of_the_new_subscription() {
    the_subscription_changes(Fault::None);
}

#[test]
#[should_panic]
fn not_if_the_subscriber_does_not_join() {
    the_subscription_changes(Fault::SubscriberDoesNotJoin);
}

#[test]
fn a_poller_hears_of_a_subscription_that_comes_back() {
    the_subscription_comes_back(Fault::None);
}

#[test]
#[should_panic]
fn not_without_the_order_of_the_subscriber() {
    the_subscription_comes_back(Fault::NoOrderOfTheSubscriber);
}

#[test]
fn a_file_is_freed_when_nobody_passes_wake_ups_on() {
    a_file_is_closed(Fault::None);
}

#[test]
#[should_panic]
fn not_without_the_lock_when_closing() {
    a_file_is_closed(Fault::NoLockWhenClosing);
}

#[test]
fn an_eventfd_counts_each_interrupt_once() {
    binding(Fault::None);
}

#[test]
#[should_panic]
fn not_if_the_count_is_read_too_early() {
    binding(Fault::CountReadTooEarly);
}

#[test]
#[should_panic]
fn not_if_it_does_not_matter_when_it_was_bound() {
    binding(Fault::NoSince);
}

#[test]
fn an_eventfd_that_is_replaced_counts_no_interrupt_twice() {
    replacing(Fault::None);
}

#[test]
#[should_panic]
fn not_if_what_was_seen_is_taken_for_pending() {
    replacing(Fault::SeenIsNotSignalled);
}
