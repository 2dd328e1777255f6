// SPDX-License-Identifier: GPL-2.0

//! Wait queues: sleep until a condition holds, with a time limit.
//!
//! Other than `kernel::sync::CondVar` there is no lock around the condition, so that an interrupt
//! handler can change it without one.
//!
//! C header: [`include/linux/wait.h`](srctree/include/linux/wait.h)

use core::marker::{
    PhantomData,
    PhantomPinned, //
};

use kernel::{
    bindings,
    fs::File,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu::synchronize_rcu,
        LockClassKey, //
    },
    task::{
        TASK_FREEZABLE,
        TASK_INTERRUPTIBLE, //
    },
    types::Opaque, //
};

/// How long to sleep.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// Until the condition holds.
    Never,
    /// At most so many nanoseconds of CLOCK_MONOTONIC from now; 0 only tests the condition.
    Nanoseconds(i64),
}

/// The readiness that a waker announces and `poll` reports.
pub(crate) mod ready {
    use kernel::bindings;

    /// Something can be read.
    pub(crate) const READ: u32 = bindings::POLLIN | bindings::POLLRDNORM;
    /// Reading makes no sense.
    pub(crate) const ERROR: u32 = bindings::POLLERR;
    /// The other end is gone.
    pub(crate) const HANG_UP: u32 = bindings::POLLHUP;
}

/// The table that `poll` of a file was called with.
///
/// # Invariants
///
/// The pointer is null or valid for `'a`.
pub(crate) struct PollTable<'a>(*mut bindings::poll_table, PhantomData<&'a ()>);

impl PollTable<'_> {
    /// # Safety
    ///
    /// `table` is null or valid for the lifetime of the returned value.
    pub(super) unsafe fn from_raw(table: *mut bindings::poll_table) -> Self {
        // INVARIANT: As the caller promises.
        Self(table, PhantomData)
    }
}

/// A queue of sleeping threads and pollers.
///
/// Dropping it sends away the pollers that are left and waits for an RCU grace period, as
/// `kernel::sync::poll::PollCondVar` does; whoever sleeps borrows the queue.
#[pin_data(PinnedDrop)]
pub(crate) struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
    wake_ups: Atomic<u64>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: `struct wait_queue_head` has a lock of its own and belongs to no thread.
unsafe impl Send for WaitQueue {}

// SAFETY: As for `Send`: every function used here takes the queue's lock.
unsafe impl Sync for WaitQueue {}

/// Creates the initialiser of a [`WaitQueue`] with a lock class of its own.
macro_rules! new_wait_queue {
    ($name:literal) => {
        $crate::kapi::wait::WaitQueue::new($name, ::kernel::static_lock_class!())
    };
}
pub(crate) use new_wait_queue;

impl WaitQueue {
    /// Used by [`new_wait_queue!`].
    pub(crate) fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` can be written to; `name` and `key` live for ever.
            head <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr())
            }),
            wake_ups: Atomic::new(0),
            _pin: PhantomPinned,
        })
    }

    /// Wakes every sleeper, and those pollers that asked for one of the `readiness` bits of
    /// [`ready`]. Any context, also hard interrupt.
    pub(crate) fn wake_all(&self, readiness: u32) {
        // CAST: `poll_to_key()`: the key carries the bits in the pointer's value.
        let key = core::ptr::without_provenance_mut(readiness as usize);
        // SAFETY: The queue is initialised; 0 as a count means all.
        unsafe { bindings::__wake_up(self.head.get(), bindings::TASK_NORMAL, 0, key) };
    }

    /// Number of times that [`WaitQueue::wait`] slept and was woken, by whatever.
    pub(crate) fn wake_ups(&self) -> u64 {
        self.wake_ups.load(Relaxed)
    }

    /// Makes the poller behind `table` a waiter of this queue.
    pub(crate) fn poll(&self, file: &File, table: &PollTable<'_>) {
        // SAFETY: File and table are valid for the call. The drop ends what registrations are left.
        unsafe { bindings::poll_wait(file.as_ptr(), self.head.get(), table.0) };
    }

    /// Sleeps until `done` returns something; it is called before each sleep and at the end.
    ///
    /// `done` runs while the thread is about to sleep: it must not sleep itself. `ETIMEDOUT` when
    /// the limit is over, `ERESTARTSYS` for a signal. Process context only, with no lock held: the
    /// thread sleeps on while the machine is suspended, where the signal that freezes others would
    /// end calls that are not restarted.
    ///
    /// A wake-up cannot fall between the test and the sleep: `prepare_to_wait_event` puts the
    /// thread into the queue, under the queue's lock, before `done` looks. Whoever makes the
    /// condition true does so before [`WaitQueue::wake_all`], which takes the same lock. If it
    /// takes the lock first, `done` sees what was done before; if the thread was first, it is in
    /// the queue and is woken, and a thread that is woken before it sleeps does not sleep.
    pub(crate) fn wait<R>(&self, limit: Limit, mut done: impl FnMut() -> Option<R>) -> Result<R> {
        if let Some(result) = done() {
            return Ok(result);
        }
        let mut deadline = match limit {
            Limit::Never => None,
            Limit::Nanoseconds(0) => return Err(ETIMEDOUT),
            // SAFETY: May be called in process context at any time.
            Limit::Nanoseconds(ns) => Some(unsafe { bindings::ktime_get() }.saturating_add(ns)),
        };
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: `entry` can be written to.
        unsafe { bindings::init_wait_entry(entry.get(), 0) };
        let result = loop {
            // SAFETY: Queue and entry are initialised. The entry is a local that is not moved until
            // `finish_wait` below has taken it out of the queue.
            let interrupted = unsafe {
                bindings::prepare_to_wait_event(
                    self.head.get(),
                    entry.get(),
                    TASK_INTERRUPTIBLE | TASK_FREEZABLE,
                )
            };
            if let Some(result) = done() {
                break Ok(result);
            }
            if interrupted != 0 {
                break Err(ERESTARTSYS);
            }
            if sleep(deadline.as_mut()) {
                // One last look: the condition may have come true together with the deadline.
                break done().ok_or(ETIMEDOUT);
            }
            self.wake_ups.add(1u64, Relaxed);
        };
        // SAFETY: As for `prepare_to_wait_event`.
        unsafe { bindings::finish_wait(self.head.get(), entry.get()) };
        result
    }
}

#[pinned_drop]
impl PinnedDrop for WaitQueue {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The queue is initialised.
        unsafe { bindings::__wake_up_pollfree(self.head.get()) };
        // Pollers look at the queue under RCU until they have learned of it.
        synchronize_rcu();
    }
}

/// Gives up the CPU until a wake-up, a signal or the deadline; true if it was the deadline.
fn sleep(deadline: Option<&mut bindings::ktime_t>) -> bool {
    let expires = deadline.map_or(core::ptr::null_mut(), core::ptr::from_mut);
    // SAFETY: The task state was set by `prepare_to_wait_event`; null means no deadline.
    unsafe { bindings::schedule_hrtimeout(expires, bindings::hrtimer_mode_HRTIMER_MODE_ABS) == 0 }
}
