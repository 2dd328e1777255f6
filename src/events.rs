// SPDX-License-Identifier: GPL-2.0

//! What interrupts leave behind: a count for each vector, eventfds to signal, sleepers to wake.
//!
//! Each vector has a number `seq`, the interrupts since the driver bound; the interrupt handler adds
//! one, and so does each resume. Each open file has, in its `Cursor`, the numbers that it has `seen`. A vector is pending
//! on a file while the two differ, so that no file can take or lose another one's event.
//!
//! The interrupt handler works at most through all eventfds that are bound to its vector, of which
//! a device has [`MAX_EVENTFDS`] over all vectors, and then wakes the threads and pollers that wait.
//! How many those are is bounded by what each user may have of processes and of epoll watches. The
//! lock that the handler takes is held by others for at most one pass over the eventfds.
//!
//! Lock order: `bound` > the lock of a `Cursor`, the locks of an eventfd. The wait queue's lock is
//! taken under none of them.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Relaxed,
            Release, //
        },
        new_spinlock_irq,
        Arc,
        SpinLockIrq, //
    }, //
};

use crate::{
    abi::{
        events::{
            EVENT_PAGE_DEAD,
            EVENT_PAGE_GENERATION,
            EVENT_PAGE_SEQ, //
        },
        ioctl::MAX_EVENTFDS, //
    },
    kapi::{
        eventfd::EventFd,
        shared_page::SharedPage,
        wait::{
            new_wait_queue,
            ready,
            WaitQueue, //
        }, //
    }, //
};

/// Tells the open files of a device apart; never used twice.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(pub(crate) u64);

/// An eventfd that open file `owner` bound to `vector`.
struct Binding {
    owner: FileId,
    vector: usize,
    eventfd: EventFd,
}

/// The bound eventfds of one device.
struct Bound {
    /// Allocated once with room for [`MAX_EVENTFDS`], so that nothing is allocated under the lock.
    bindings: KVec<Binding>,
    /// The device is gone and nothing can be bound any more.
    dead: bool,
}

impl Bound {
    fn position(&self, owner: FileId, vector: usize) -> Option<usize> {
        self.bindings
            .iter()
            .position(|binding| binding.owner == owner && binding.vector == vector)
    }
}

/// The events of one device; lives as long as the last open file.
#[pin_data]
pub(crate) struct Events {
    /// `seq`, `dead` and `generation`, where programs can see them too.
    page: Arc<SharedPage>,
    #[pin]
    queue: WaitQueue,
    #[pin]
    bound: SpinLockIrq<Bound>,
}

impl Events {
    /// Makes the events of a device that has not seen an interrupt yet.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            let page = Arc::new(SharedPage::new()?, GFP_KERNEL)?;
            let bound = Bound {
                bindings: KVec::with_capacity(MAX_EVENTFDS, GFP_KERNEL)?,
                dead: false,
            };
            Ok(try_pin_init!(Self {
                page,
                queue <- new_wait_queue!(c"ivshmem_events"),
                bound <- new_spinlock_irq!(bound, "ivshmem_bound"),
            }))
        })
    }

    /// The page that shows `seq`, `dead` and `generation` to programs.
    pub(crate) fn page(&self) -> &Arc<SharedPage> {
        &self.page
    }

    /// Where threads and pollers wait for events and for the end.
    pub(crate) fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Interrupts of `vector` since the driver bound, 0 for a vector that cannot exist.
    ///
    /// What the peer wrote to the shared memory before it rang is visible after this: the load
    /// pairs with the store in [`Events::interrupt`].
    pub(crate) fn seq(&self, vector: usize) -> u64 {
        self.page
            .word64::<EVENT_PAGE_SEQ>(vector)
            .map_or(0, |seq| seq.load(Acquire))
    }

    /// Counts an interrupt of `vector`, signals its eventfds, wakes who waits. Any context.
    pub(crate) fn interrupt(&self, vector: usize) {
        let bound = self.bound.lock();
        // The count changes under the lock, so that an eventfd that is bound at this moment is
        // signalled either from here or because the vector is pending, and not twice.
        if let Some(seq) = self.page.word64::<EVENT_PAGE_SEQ>(vector) {
            // Only under the lock is this written. Release, for whoever sees the count shall see
            // what the peer wrote before it rang.
            seq.store(seq.load(Relaxed).wrapping_add(1), Release);
        }
        let hit = |binding: &&Binding| binding.vector == vector;
        for binding in bound.bindings.iter().filter(hit) {
            binding.eventfd.signal();
        }
        drop(bound);
        self.queue.wake_all(ready::READ);
    }

    /// Whether the device is gone.
    pub(crate) fn is_dead(&self) -> bool {
        self.page.word32::<EVENT_PAGE_DEAD>().load(Acquire) != 0
    }

    /// Number of resumes.
    pub(crate) fn generation(&self) -> u32 {
        self.page.word32::<EVENT_PAGE_GENERATION>().load(Relaxed)
    }

    /// Tells everybody that the machine slept, during which rings were lost: the generation goes up,
    /// and each of the `vectors` counts as rung once, so that whoever waits, in whatever way, looks at
    /// the memory again. Called under the device's lock, after which programs run again.
    pub(crate) fn resume(&self, vectors: usize) {
        let generation = self.page.word32::<EVENT_PAGE_GENERATION>();
        // Only here is this written. Who sees the events below sees the new generation.
        generation.store(generation.load(Relaxed).wrapping_add(1), Relaxed);
        for vector in 0..vectors {
            self.interrupt(vector);
        }
    }

    /// Tells everybody that the device is gone. The vectors were freed before, so that nothing is
    /// counted after this. May sleep.
    pub(crate) fn die(&self) {
        self.page.word32::<EVENT_PAGE_DEAD>().store(1, Release);
        let mut bound = self.bound.lock();
        bound.dead = true;
        let bindings = core::mem::take(&mut bound.bindings);
        drop(bound);
        for binding in &bindings {
            binding.eventfd.signal();
        }
        self.queue
            .wake_all(ready::READ | ready::ERROR | ready::HANG_UP);
    }

    /// Binds `eventfd` to `vector` for the file `owner`, replacing what that file had bound there, and
    /// signals it at once if `is_pending` says that the vector is pending on the file. `is_pending` is
    /// called with interrupts off and the lock of the interrupt handler held, so that an interrupt
    /// either comes before it or signals the eventfd itself.
    ///
    /// `ENOSPC` if the device has [`MAX_EVENTFDS`] already, `ENODEV` once it is gone.
    pub(crate) fn bind(
        &self,
        owner: FileId,
        vector: usize,
        eventfd: EventFd,
        is_pending: impl FnOnce() -> bool,
    ) -> Result {
        let binding = Binding {
            owner,
            vector,
            eventfd,
        };
        let mut bound = self.bound.lock();
        if bound.dead {
            return Err(ENODEV);
        }
        let position = bound.position(owner, vector);
        if position.is_none() && bound.bindings.len() >= MAX_EVENTFDS {
            return Err(ENOSPC);
        }
        if is_pending() {
            binding.eventfd.signal();
        }
        let replaced = match position.and_then(|at| bound.bindings.get_mut(at)) {
            Some(old) => Some(core::mem::replace(old, binding)),
            None => {
                // The limit was checked and the room allocated: this cannot fail.
                let _ = bound.bindings.push_within_capacity(binding);
                None
            }
        };
        drop(bound);
        // After the lock: it may be the last reference.
        drop(replaced);
        Ok(())
    }

    /// Unbinds what the file `owner` has bound to `vector`, if anything.
    pub(crate) fn unbind(&self, owner: FileId, vector: usize) {
        let mut bound = self.bound.lock();
        let removed = match bound.position(owner, vector) {
            Some(at) => bound.bindings.remove(at).ok(),
            None => None,
        };
        drop(bound);
        // After the lock: it may be the last reference.
        drop(removed);
    }

    /// Number of eventfds that are bound.
    pub(crate) fn eventfds(&self) -> usize {
        self.bound.lock().bindings.len()
    }

    /// Mask of the vectors to which the file `owner` has bound an eventfd.
    pub(crate) fn bound_vectors(&self, owner: FileId) -> u64 {
        let bound = self.bound.lock();
        let own = bound.bindings.iter().filter(|b| b.owner == owner);
        own.fold(0, |mask, binding| mask | 1 << binding.vector)
    }
}
