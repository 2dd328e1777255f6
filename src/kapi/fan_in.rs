// SPDX-License-Identifier: GPL-2.0

//! A wait queue that is fed by several others, chosen by a mask that can change.
//!
//! An open file is waited on for whatever vectors it is subscribed to. Waking by vector must not
//! walk past files that have nothing to do with it, a poller must stay in one queue for as long as
//! the file is open, and a thread that sleeps and wakes at a high rate must not enter and leave
//! many queues each time. So the file has a queue of its own, and an entry in the queue of each
//! selected source, which passes wake-ups on. The entry enters when somebody begins to wait, stays
//! while somebody does, and leaves by itself when a wake-up finds nobody: who does not wait costs
//! no interrupt more than one.
//!
//! `Documentation/internals.rst` has the proof that no wake-up is lost, and
//! `tools/tests/driver-models` a model of these steps that is checked under all interleavings; both
//! follow each change here.
//!
//! Lock order: the lock of a source's queue > the lock of the file's queue.

use core::marker::PhantomPinned;

use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    types::Opaque, //
};

use super::{
    atomic::read_once,
    barrier::smp_full_barrier,
    wait::{
        new_wait_queue,
        Exclusive,
        WaitQueue, //
    }, //
};

/// A queue on a cache line of its own.
#[pin_data]
#[repr(align(64))]
struct Source {
    #[pin]
    queue: WaitQueue,
}

/// Queues that wake-ups come from.
///
/// # Invariants
///
/// Neither the queues nor their number ever change.
#[pin_data]
pub(crate) struct Sources {
    sources: KVec<Pin<KBox<Source>>>,
    #[pin]
    everybody: WaitQueue,
}

impl Sources {
    /// Makes `count` queues, 64 at most. May sleep.
    pub(crate) fn new(count: usize) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            let mut sources = KVec::with_capacity(count, GFP_KERNEL)?;
            for _ in 0..count.min(64) {
                let source = pin_init!(Source {
                    queue <- new_wait_queue!(c"ivshmem_vector"),
                });
                sources.push(KBox::pin_init(source, GFP_KERNEL)?, GFP_KERNEL)?;
            }
            Ok(try_pin_init!(Self {
                sources,
                everybody <- new_wait_queue!(c"ivshmem_everybody"),
            }? Error))
        })
    }

    /// The queue of source `index`, or `None` past the last.
    pub(crate) fn source(&self, index: usize) -> Option<&WaitQueue> {
        self.sources.get(index).map(|source| &source.queue)
    }

    /// Wakes everybody who waits, whatever for. Any context.
    pub(crate) fn wake_all(&self, readiness: u32) {
        for source in &self.sources {
            source.queue.wake(readiness, Exclusive::All);
        }
        self.everybody.wake(readiness, Exclusive::All);
    }
}

/// An entry in the queue of a source.
#[repr(C)]
struct Entry {
    wait: bindings::wait_queue_entry,
    owner: *const Shared,
    bit: u64,
}

/// What entries refer to.
#[pin_data]
struct Shared {
    #[pin]
    queue: WaitQueue,
    /// Mask of the sources whose wake-ups are passed on.
    selected: Atomic<u64>,
    /// Mask of the sources in whose queue the entry is. A bit changes under the lock of that
    /// source's queue only, together with the list: it is set after the entry was put there.
    joined: Atomic<u64>,
    /// Mask of the sources in whose queue the entry ever was. Bits are only set.
    entered: Atomic<u64>,
    #[pin]
    _pin: PhantomPinned,
}

/// A wait queue that is fed by the selected ones of some [`Sources`].
///
/// # Invariants
///
/// `entries` has an entry for each source, and one more, which is in the queue of `everybody` while
/// this object lives; each points to `shared`. The buffer is never reallocated. The entry of source
/// n is in its queue exactly when bit n of `joined` is set, which is looked at under the lock of
/// that queue.
#[pin_data(PinnedDrop)]
pub(crate) struct FanIn {
    sources: Arc<Sources>,
    entries: KVec<Opaque<Entry>>,
    #[pin]
    shared: Shared,
}

// SAFETY: Nothing of it belongs to a thread: the entries are accessed under the locks of the
// queues.
unsafe impl Send for FanIn {}

// SAFETY: The entries are accessed under the locks of the queues, and the masks are atomics.
unsafe impl Sync for FanIn {}

impl FanIn {
    /// A queue without waiters that is fed by the sources of `selected`. May sleep.
    pub(crate) fn new(sources: Arc<Sources>, selected: u64) -> impl PinInit<Self, Error> {
        try_pin_init!(&this in Self {
            shared <- pin_init!(Shared {
                queue <- new_wait_queue!(c"ivshmem_file"),
                selected: Atomic::new(selected),
                joined: Atomic::new(0),
                entered: Atomic::new(0),
                _pin: PhantomPinned,
            }),
            // SAFETY: `this` points to the object that is being initialised in place.
            entries: Self::entries(&sources, unsafe { &raw const (*this.as_ptr()).shared })?,
            _: {
                // SAFETY: `entries` was initialised just before, and nothing else borrows it.
                let entries = unsafe { &(*this.as_ptr()).entries };
                if let Some(last) = entries.last() {
                    // SAFETY: The entry is initialised and in no queue, and is taken out before it
                    // is freed.
                    unsafe {
                        bindings::add_wait_queue(sources.everybody.as_raw(), wait_entry(last))
                    };
                }
            },
            sources,
        })
    }

    fn entries(sources: &Sources, owner: *const Shared) -> Result<KVec<Opaque<Entry>>> {
        let count = sources.sources.len();
        let mut entries = KVec::with_capacity(count + 1, GFP_KERNEL_ACCOUNT)?;
        for index in 0..=count {
            let entry = Entry {
                wait: bindings::wait_queue_entry {
                    flags: 0,
                    private: core::ptr::null_mut(),
                    func: Some(pass_on),
                    entry: bindings::list_head {
                        next: core::ptr::null_mut(),
                        prev: core::ptr::null_mut(),
                    },
                },
                owner,
                // The last is the one for everybody: no bit.
                bit: if index < count { 1 << index } else { 0 },
            };
            entries.push(Opaque::new(entry), GFP_KERNEL_ACCOUNT)?;
        }
        Ok(entries)
    }

    /// The queue itself.
    pub(crate) fn queue(&self) -> &WaitQueue {
        &self.shared.queue
    }

    /// Mask of the selected sources.
    pub(crate) fn selected(&self) -> u64 {
        read_once(&self.shared.selected)
    }

    /// Selects the sources of `mask` from now on, and wakes all waiters, for whom something may
    /// have changed. Process context.
    pub(crate) fn select(&self, mask: u64, readiness: u32) {
        // Fully ordered, as clearing a bit is in `Shared::wake`: an entry that leaves there because
        // its source was not selected either sees this and stays, or is missing in `join`.
        self.shared.selected.xchg(mask, Full);
        // Pollers that are in the queue do not call `join` again by themselves.
        self.join();
        self.queue().wake(readiness, Exclusive::All);
    }

    /// Sees to it that the wake-ups of the selected sources come here. To be called by whoever is
    /// in the queue, with a full barrier since it entered, before it looks whether it has to wait.
    /// Process context; does not sleep.
    pub(crate) fn join(&self) {
        let shared = &self.shared;
        let missing = read_once(&shared.selected) & !read_once(&shared.joined);
        if missing != 0 {
            self.enter(missing);
        }
        // Between entering the sources' queues and the caller's look, as `WaitQueue::is_active`
        // asks. Also where another thread has entered them.
        smp_full_barrier();
    }

    /// Puts the entries into the queues of the sources of `missing`.
    fn enter(&self, missing: u64) {
        let shared = &self.shared;
        let mut entered = shared.entered.load(Relaxed);
        while let Err(now) = shared.entered.cmpxchg(entered, entered | missing, Relaxed) {
            entered = now;
        }
        self.for_each(missing, |queue, entry| {
            // SAFETY: The entry is that of the source, by the type invariant.
            unsafe { shared.enter(queue, entry) };
        });
    }

    /// Calls `f` with the queue of each source of `mask` and the entry for it.
    fn for_each(&self, mut mask: u64, f: impl Fn(&WaitQueue, &Opaque<Entry>)) {
        while mask != 0 {
            // CAST: Below 64.
            let index = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            if let (Some(queue), Some(entry)) =
                (self.sources.source(index), self.entries.get(index))
            {
                f(queue, entry);
            }
        }
    }
}

impl Shared {
    /// Puts `entry` into the queue of its source unless it is there.
    ///
    /// # Safety
    ///
    /// `entry` must point to `self`, be the one for `queue`, and be taken out again before it is
    /// freed.
    unsafe fn enter(&self, queue: &WaitQueue, entry: &Opaque<Entry>) {
        // SAFETY: The entry is initialised; the bit never changes.
        let bit = unsafe { (*entry.get()).bit };
        queue.locked(|list| {
            if read_once(&self.joined) & bit != 0 {
                return;
            }
            // SAFETY: The lock is held, and the entry is in no list, as its bit was clear.
            unsafe { list_add_tail(&raw mut (*wait_entry(entry)).entry, list) };
            // The bit is clear and nobody else changes it: adding sets it. After the list, for who
            // finds it set in `join`, without the lock, relies on wake-ups.
            self.joined.fetch_add(bit, Release);
        });
    }

    /// Takes `entry` out of the queue of its source if it is there. No wake function runs on it
    /// after this.
    ///
    /// # Safety
    ///
    /// `entry` must point to `self` and be the one for `queue`.
    unsafe fn leave(&self, queue: &WaitQueue, entry: &Opaque<Entry>) {
        // SAFETY: The entry is initialised; the bit never changes.
        let bit = unsafe { (*entry.get()).bit };
        // Also if the bit is clear in `joined`: a wake-up that clears it holds the lock, and goes
        // on using the entry and this object until it releases it.
        queue.locked(|_| {
            if bit == 0 || read_once(&self.joined) & bit != 0 {
                // SAFETY: The lock is held, and the entry is in the list: that for everybody
                // always, the others while their bit is set.
                unsafe { list_del(&raw mut (*wait_entry(entry)).entry) };
            }
        });
    }

    /// Passes a wake-up of the source with `bit` on; false if nobody waits, so that the entry is to
    /// be taken out of the source's queue. Called under the lock of that queue.
    fn wake(&self, bit: u64, readiness: u32) -> bool {
        let wanted =
            || (bit == 0 || read_once(&self.selected) & bit != 0) && self.queue.is_active();
        // The waker's barrier came before it took the lock of the source's queue.
        if !wanted() {
            if bit == 0 {
                return true;
            }
            // The bit is set, as the entry is in the queue, and nobody else changes it. The full
            // order pairs with the barrier of whoever entered the queue and then looks at `joined`:
            // it sees the bit cleared, or is seen here.
            self.joined.fetch_sub(bit, Full);
            if !wanted() {
                return false;
            }
            self.joined.fetch_add(bit, Relaxed);
        }
        let exclusive = if bit == 0 {
            Exclusive::All
        } else {
            Exclusive::One
        };
        self.queue.wake_after_barrier(readiness, exclusive);
        true
    }
}

#[pinned_drop]
impl PinnedDrop for FanIn {
    fn drop(self: Pin<&mut Self>) {
        let shared = &self.shared;
        // Who never waited costs nothing. Nobody is left who would enter.
        self.for_each(read_once(&shared.entered), |queue, entry| {
            // SAFETY: The entry is that of the queue, by the type invariant.
            unsafe { shared.leave(queue, entry) };
        });
        if let Some(entry) = self.entries.last() {
            // SAFETY: The last entry is that for everybody, by the type invariant.
            unsafe { shared.leave(&self.sources.everybody, entry) };
        }
    }
}

fn wait_entry(entry: &Opaque<Entry>) -> *mut bindings::wait_queue_entry {
    // The first field of a `repr(C)` structure.
    entry.get().cast()
}

/// The wake function of an [`Entry`].
///
/// # Safety
///
/// Must be called by the wait queue code, under the lock of the queue that the entry is in.
unsafe extern "C" fn pass_on(
    wait: *mut bindings::wait_queue_entry,
    _mode: c_uint,
    _flags: c_int,
    key: *mut c_void,
) -> c_int {
    let entry = wait.cast::<Entry>();
    // SAFETY: Entries with this function are the first field of an `Entry`, whose other fields
    // never change.
    let (owner, bit) = unsafe { ((*entry).owner, (*entry).bit) };
    // SAFETY: The owner is dropped only after `leave` has taken the lock of each queue that it has
    // an entry for, and so after the end of this call, which holds one of them.
    let shared = unsafe { &*owner };
    // CAST: `key_to_poll()`: the bits are the pointer's value.
    if !shared.wake(bit, key.addr() as u32) {
        // SAFETY: The lock is held, and the entry is in the queue's list. The walk over it
        // remembered its successor before it called us.
        unsafe { list_del(&raw mut (*wait).entry) };
    }
    0
}

/// `list_add_tail()`, which is inline in C.
///
/// # Safety
///
/// `entry` must be in no list, `head` the head of a list, whose lock is held.
unsafe fn list_add_tail(entry: *mut bindings::list_head, head: *mut bindings::list_head) {
    // SAFETY: The head of a list has a valid predecessor.
    let last = unsafe { (*head).prev };
    // SAFETY: The entry is the caller's.
    unsafe {
        entry.write(bindings::list_head {
            next: head,
            prev: last,
        })
    };
    // SAFETY: The head is valid, and locked by the caller.
    unsafe { (*head).prev = entry };
    // SAFETY: The last entry is valid, and locked with its list. Once, for `is_active` looks
    // without the lock.
    unsafe { (&raw mut (*last).next).write_volatile(entry) };
}

/// `list_del()`, which is inline in C.
///
/// # Safety
///
/// `entry` must be in a list, whose lock is held.
unsafe fn list_del(entry: *mut bindings::list_head) {
    // SAFETY: The entry is valid, and locked with its list.
    let bindings::list_head { next, prev } = unsafe { entry.read() };
    // SAFETY: The neighbours of an entry are valid, and locked with their list.
    unsafe { (*next).prev = prev };
    // SAFETY: The neighbours of an entry are valid, and locked with their list. Once, for
    // `is_active` looks without the lock.
    unsafe { (&raw mut (*prev).next).write_volatile(next) };
}
