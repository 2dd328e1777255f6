// SPDX-License-Identifier: GPL-2.0

//! Wait queues: sleep until a condition holds, with a time limit.
//!
//! Other than `kernel::sync::CondVar` there is no lock around the condition, so that an interrupt
//! handler can change it without one, and one thread can sleep in several queues.
//!
//! C header: [`include/linux/wait.h`](srctree/include/linux/wait.h)

use core::{
    marker::PhantomPinned,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    prelude::*,
    sync::{
        lock::Backend,
        LockClassKey, //
    },
    task::{
        TASK_FREEZABLE,
        TASK_INTERRUPTIBLE, //
    },
    types::Opaque, //
};

use super::{
    barrier::smp_full_barrier,
    compat::SpinLockIrqBackend,
    helpers, //
};

/// How long to sleep.
#[derive(Clone, Copy)]
pub(crate) enum Timeout {
    /// Until the condition holds.
    Infinite,
    /// At most so many nanoseconds of CLOCK_MONOTONIC from now; 0 only tests the condition.
    Nanoseconds(i64),
}

/// Calls `f` with `lock` held.
///
/// # Safety
///
/// `lock` must be initialised, and may be taken here.
unsafe fn with_lock<B: Backend, R>(lock: *mut B::State, f: impl FnOnce() -> R) -> R {
    // SAFETY: Initialised, as the caller promises.
    let state = unsafe { B::lock(lock) };
    let result = f();
    // SAFETY: Taken above, with this state.
    unsafe { B::unlock(lock, &state) };
    result
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

/// How many of the waiters that asked to be woken one at a time (`EPOLLEXCLUSIVE`) are woken; all
/// others always are.
#[derive(Clone, Copy)]
pub(crate) enum Exclusive {
    /// One of them.
    One,
    /// All of them.
    All,
}

/// A queue of sleeping threads, pollers, and what else is to be called.
///
/// Whoever sleeps borrows the queue. Pollers register through [`super::chardev`] only, with a queue
/// that lives as long as their file.
#[pin_data]
pub(crate) struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: `struct wait_queue_head` has a lock of its own and belongs to no thread.
unsafe impl Send for WaitQueue {}

// SAFETY: Every function used here takes the queue's lock, or only looks whether the queue is
// empty.
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
            _pin: PhantomPinned,
        })
    }

    /// The C view of the queue.
    pub(super) fn as_raw(&self) -> *mut bindings::wait_queue_head {
        self.head.get()
    }

    /// Whether somebody is in the queue.
    ///
    /// A waiter enters the queue, then tests its condition; a waker makes the condition true, then
    /// calls this. With a full barrier between the two steps on either side, one of them sees the
    /// other: the waiter's is in `prepare_to_wait_event()`, the waker's is the caller's business.
    pub(super) fn is_active(&self) -> bool {
        let head = self.head.get();
        // SAFETY: The queue is initialised.
        let list = unsafe { &raw mut (*head).head };
        // SAFETY: The list's head is valid; others may write the pointer meanwhile, as C's
        // `waitqueue_active()` allows, which reads it once, like this.
        let first = unsafe { (&raw const (*list).next).read_volatile() };
        !core::ptr::eq(first, list)
    }

    /// Calls `f` with the list of the queue, whose lock is held. Nothing may sleep in `f`.
    pub(super) fn locked<R>(&self, f: impl FnOnce(*mut bindings::list_head) -> R) -> R {
        let head = self.head.get();
        // SAFETY: The queue is initialised.
        let (lock, list) = unsafe { (&raw mut (*head).lock, &raw mut (*head).head) };
        // SAFETY: The lock is initialised, and lives as long as the queue.
        unsafe { with_lock::<SpinLockIrqBackend, R>(lock, || f(list)) }
    }

    /// Wakes the sleepers, and those pollers that asked for one of the `readiness` bits of
    /// [`ready`]. Any context, also hard interrupt. Costs little where nobody is in the queue.
    ///
    /// Whatever the caller did before is seen by whoever enters the queue afterwards.
    pub(crate) fn wake(&self, readiness: u32, exclusive: Exclusive) {
        smp_full_barrier();
        self.wake_after_barrier(readiness, exclusive);
    }

    /// The same for a caller who knows that what makes the condition true was a fully ordered
    /// atomic operation, or was followed by a full barrier.
    pub(crate) fn wake_after_barrier(&self, readiness: u32, exclusive: Exclusive) {
        if !self.is_active() {
            return;
        }
        // CAST: `poll_to_key()`: the key carries the bits in the pointer's value.
        let key = core::ptr::without_provenance_mut(readiness as usize);
        let count = match exclusive {
            Exclusive::One => 1,
            Exclusive::All => 0,
        };
        // SAFETY: The queue is initialised.
        unsafe { bindings::__wake_up(self.head.get(), bindings::TASK_NORMAL, count, key) };
    }

    /// Sleeps in this queue alone: see [`wait_in`].
    pub(crate) fn wait<R>(
        &self,
        timeout: Timeout,
        woken: impl FnMut(),
        done: impl FnMut() -> Option<R>,
    ) -> Result<R> {
        let mut place = [Place::new(self)];
        wait_in(&mut place, timeout, woken, done)
    }
}

/// A thread's place in a queue while it sleeps.
pub(crate) struct Place<'a> {
    queue: &'a WaitQueue,
    entry: Opaque<bindings::wait_queue_entry>,
}

impl<'a> Place<'a> {
    /// A place in `queue`, which is not taken yet.
    pub(crate) fn new(queue: &'a WaitQueue) -> Self {
        Self {
            queue,
            entry: Opaque::uninit(),
        }
    }
}

/// Sleeps in the queues of all `places` until `done` returns something.
///
/// `done` is called before each sleep, while the thread is in the queues, and after each wake-up;
/// it must not sleep itself. `woken` is called after each sleep that a wake-up ended.
///
/// `ETIMEDOUT` when the time is over, `ERESTARTSYS` for a signal. Process context only, with no
/// lock held. The thread sleeps on while the machine is suspended, where the signal that freezes
/// others would end calls that are not restarted.
///
/// A wake-up cannot fall between the test and the sleep: `prepare_to_wait_event()` puts the thread
/// into the queue and has a full barrier before `done` looks; for the other side see
/// [`WaitQueue::is_active`]. A thread that is woken before it sleeps does not sleep.
pub(crate) fn wait_in<R>(
    places: &mut [Place<'_>],
    timeout: Timeout,
    mut woken: impl FnMut(),
    mut done: impl FnMut() -> Option<R>,
) -> Result<R> {
    let mut deadline = match timeout {
        Timeout::Infinite => None,
        Timeout::Nanoseconds(ns) => Some(ns),
    };
    if deadline == Some(0) {
        return done().ok_or(ETIMEDOUT);
    }
    if let Some(ns) = &mut deadline {
        // SAFETY: May be called in process context at any time.
        *ns = unsafe { bindings::ktime_get() }.saturating_add(*ns);
    }
    for place in &mut *places {
        // SAFETY: The entry can be written to.
        unsafe { bindings::init_wait_entry(place.entry.get(), 0) };
    }
    let result = loop {
        let mut interrupted = false;
        for place in &mut *places {
            // SAFETY: Queue and entry are initialised. The entry stays where it is, behind a
            // mutable borrow, until `finish_wait` below has taken it out of the queue.
            interrupted |= unsafe {
                bindings::prepare_to_wait_event(
                    place.queue.as_raw(),
                    place.entry.get(),
                    TASK_INTERRUPTIBLE | TASK_FREEZABLE,
                )
            } != 0;
        }
        if let Some(result) = done() {
            break Ok(result);
        }
        if interrupted {
            break Err(ERESTARTSYS);
        }
        let timed_out = sleep(deadline.as_mut());
        if !timed_out {
            woken();
        }
        // Before queueing again, which most often is not needed. When the time is over, the last
        // look: the condition may have come true together with it.
        if let Some(result) = done() {
            break Ok(result);
        }
        if timed_out {
            break Err(ETIMEDOUT);
        }
    };
    for place in &mut *places {
        // SAFETY: Queue and entry are initialised, and the thread is the entry's.
        unsafe { bindings::finish_wait(place.queue.as_raw(), place.entry.get()) };
    }
    result
}

/// Lets other threads run that wait for the CPU, on kernels that take it away from no system call.
/// Process context, with no lock held.
pub(crate) fn cond_resched() {
    helpers::ivshmem_cond_resched();
}

/// Gives up the CPU until a wake-up, a signal or the deadline; true if it was the deadline.
fn sleep(deadline: Option<&mut bindings::ktime_t>) -> bool {
    let expires = deadline.map_or(core::ptr::null_mut(), core::ptr::from_mut);
    // SAFETY: The task state was set by `prepare_to_wait_event`; null means no deadline.
    unsafe { bindings::schedule_hrtimeout(expires, bindings::hrtimer_mode_HRTIMER_MODE_ABS) == 0 }
}

/// The table that `poll` of a file was called with.
///
/// # Invariants
///
/// The table is null or valid while this lives; the file is the one that is polled.
pub(super) struct PollTable {
    file: NonNull<bindings::file>,
    table: *mut bindings::poll_table,
}

impl PollTable {
    /// # Safety
    ///
    /// `file` must be valid, and `table` null or valid, for the lifetime of the returned value.
    pub(super) unsafe fn from_raw(
        file: NonNull<bindings::file>,
        table: *mut bindings::poll_table,
    ) -> Self {
        // INVARIANT: The precondition is the invariant.
        Self { file, table }
    }

    /// Makes the poller a waiter of `queue`.
    ///
    /// # Safety
    ///
    /// `queue` must live until the file is released: pollers leave it by then, and no sooner.
    pub(super) unsafe fn register(&self, queue: &WaitQueue) {
        // SAFETY: File and table are valid by the type invariant; the queue lives as the caller
        // promises.
        unsafe { bindings::poll_wait(self.file.as_ptr(), queue.as_raw(), self.table) };
    }
}
