// SPDX-License-Identifier: GPL-2.0

//! What interrupts leave behind: a count for each vector, eventfds to signal, sleepers to wake.
//!
//! Each vector has a number `seq`, the interrupts since the driver bound; the interrupt handler
//! adds one, and so does each resume. Each open file has, in its `Cursor`, the numbers that it has
//! `seen`. A vector is pending on a file while the two differ, so that no file can take or lose
//! another one's event.
//!
//! Vectors have nothing in common that an interrupt writes, but the cache lines of the event page,
//! whose layout is a part of the interface. An interrupt meets only what concerns its vector: the
//! eventfds that are bound to it, and the queues of files that are subscribed to it and waited on.
//! Where there are none, it takes no lock.
//!
//! Lock order: `eventfds` of a vector > the lock inside of an eventfd; the lock of a vector's queue
//! > that of a file's queue. A `Cursor` has no lock.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    }, //
};

use crate::{
    abi::{
        events::{
            EVENT_PAGE_DEAD,
            EVENT_PAGE_GENERATION,
            EVENT_PAGE_SEQ, //
        },
        pci::MAX_VECTORS, //
    },
    eventfds::{
        is_after,
        Binding,
        EventFds,
        FileId, //
    },
    kapi::{
        atomic::read_once,
        barrier::{
            read_barrier,
            smp_full_barrier, //
        },
        eventfd::EventFd,
        fan_in::Sources,
        irq_context::IrqContext,
        shared_page::SharedPage,
        spinlock::{
            new_irq_spinlock,
            IrqSpinLock, //
        },
        trace,
        wait::{
            ready,
            Exclusive, //
        }, //
    }, //
};

/// The eventfds of one vector. Boxed one by one, so that no two share a cache line.
#[pin_data]
#[repr(align(64))]
struct Bound {
    /// Number of `eventfds`, changed under their lock. 0 tells the handler without the lock that
    /// there are none.
    count: Atomic<u32>,
    #[pin]
    eventfds: IrqSpinLock<EventFds>,
}

impl Bound {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            count: Atomic::new(0),
            eventfds <- new_irq_spinlock!(EventFds::new(), c"ivshmem_eventfds"),
        })
    }
}

/// The events of one device; lives as long as the last open file.
pub(crate) struct Events {
    /// The N of `/dev/ivshmemN`, for who traces.
    number: u32,
    /// `seq`, `dead` and `generation`, where programs can see them too.
    page: Arc<SharedPage>,
    bound: KVec<Pin<KBox<Bound>>>,
    queues: Arc<Sources>,
}

impl Events {
    /// Makes the events of a device with room for `vectors`, at most [`MAX_VECTORS`], that has not
    /// seen an interrupt yet.
    pub(crate) fn new(number: u32, vectors: usize) -> Result<Self> {
        let page = Arc::new(SharedPage::new()?, GFP_KERNEL)?;
        let vectors = vectors.min(MAX_VECTORS);
        let mut bound = KVec::with_capacity(vectors, GFP_KERNEL)?;
        for _ in 0..vectors {
            bound.push(KBox::pin_init(Bound::new(), GFP_KERNEL)?, GFP_KERNEL)?;
        }
        let queues = Arc::pin_init(Sources::new(vectors), GFP_KERNEL)?;
        Ok(Self {
            number,
            page,
            bound,
            queues,
        })
    }

    /// The page that shows `seq`, `dead` and `generation` to programs.
    pub(crate) fn page(&self) -> &Arc<SharedPage> {
        &self.page
    }

    /// Where threads and pollers wait, by vector.
    pub(crate) fn queues(&self) -> &Arc<Sources> {
        &self.queues
    }

    /// Interrupts of `vector` since the driver bound, 0 for a vector that cannot exist.
    ///
    /// What the peer wrote to the shared memory before it rang is visible after an
    /// [`Events::observed`] that follows.
    pub(crate) fn seq(&self, vector: usize) -> u64 {
        self.page
            .word64::<EVENT_PAGE_SEQ, MAX_VECTORS>(vector)
            .map_or(0, read_once)
    }

    /// Orders what the caller reads from now on after what it has seen of the events: counts, and
    /// the device's end. Pairs with the addition in [`Events::count`]. One for many counts.
    /// Also for memory that is mapped write-combining, whose reads x86 can do early.
    pub(crate) fn observed() {
        read_barrier();
    }

    /// Counts an interrupt of `vector`; returns the new count, `None` for a vector that cannot
    /// exist. Any context.
    #[inline(always)]
    pub(crate) fn count(&self, vector: usize) -> Option<u64> {
        let word = self.page.word64::<EVENT_PAGE_SEQ, MAX_VECTORS>(vector)?;
        // Fully ordered: whoever sees the count sees what the peer wrote before it rang, and what
        // follows sees who bound an eventfd, or began to wait, without having seen the count.
        Some(word.fetch_add(1u64, Full).wrapping_add(1))
    }

    /// Signals the eventfds and wakes who waits, after [`Events::count`] made the count `seq`.
    #[inline(always)]
    pub(crate) fn notify(&self, vector: usize, seq: u64, context: &IrqContext) {
        let (Some(bound), Some(queue)) = (self.bound.get(vector), self.queues.source(vector))
        else {
            return;
        };
        // CAST: Below `MAX_VECTORS`.
        trace::interrupt(self.number, vector as u32, seq);
        if read_once(&bound.count) != 0 {
            bound.eventfds.lock_in_irq(context).signal(seq);
        }
        queue.wake_after_barrier(ready::READ, Exclusive::One);
    }

    /// Whether the device is gone. If so, all that was counted is seen after this.
    pub(crate) fn is_dead(&self) -> bool {
        let dead = read_once(self.page.word32::<EVENT_PAGE_DEAD>()) != 0;
        if dead {
            Self::observed();
        }
        dead
    }

    /// Number of resumes and resets.
    pub(crate) fn generation(&self) -> u32 {
        self.page.word32::<EVENT_PAGE_GENERATION>().load(Relaxed)
    }

    /// The device was away: the generation goes up. Called under the device's lock.
    pub(crate) fn begin_generation(&self) {
        let generation = self.page.word32::<EVENT_PAGE_GENERATION>();
        // Only here is this written. Who sees the events of `resume` sees the new generation.
        generation.store(generation.load(Relaxed).wrapping_add(1), Release);
    }

    /// Tells everybody that the device was away, during which rings were lost: each of the `armed`
    /// vectors counts as rung once, so that whoever waits, in whatever way, looks at the memory
    /// again. Called under the device's lock.
    pub(crate) fn resume(&self, armed: usize) {
        for vector in 0..armed {
            IrqContext::enter(|context| {
                if let Some(seq) = self.count(vector) {
                    self.notify(vector, seq, context);
                }
            });
        }
        self.queues.wake_all(ready::READ);
    }

    /// Tells everybody that the device is gone. The vectors were freed before, so that nothing is
    /// counted after this. May sleep.
    pub(crate) fn die(&self) {
        self.page.word32::<EVENT_PAGE_DEAD>().store(1, Release);
        for bound in &self.bound {
            let eventfds = bound.eventfds.lock().close();
            bound.count.store(0, Relaxed);
            eventfds.signal_all();
        }
        self.queues
            .wake_all(ready::READ | ready::ERROR | ready::HANG_UP);
    }

    /// Binds `eventfd` to `vector` for the file `owner`, replacing what that file had bound there.
    /// Each interrupt from that moment on signals the eventfd. If the vector's count is past `seen`
    /// at that moment, it is signalled at once. May sleep.
    ///
    /// `ENODEV` once the device is gone, `EINVAL` for a vector that cannot exist, `ENOMEM`.
    pub(crate) fn bind(
        &self,
        owner: FileId,
        vector: usize,
        eventfd: EventFd,
        seen: Option<u64>,
    ) -> Result {
        let bound = self.bound.get(vector).ok_or(EINVAL)?;
        let mut binding = KBox::new(Binding::new(owner, eventfd), GFP_KERNEL_ACCOUNT)?;
        let mut eventfds = bound.eventfds.lock();
        if eventfds.is_closed() {
            return Err(ENODEV);
        }
        let replaced = eventfds.remove(owner);
        bound.count.store(eventfds.len() + 1, Relaxed);
        // An interrupt that does not see the new number was counted before this look, and one that
        // is counted after it sees the number. One that does both waits for the lock, and then
        // finds that it came before the binding.
        smp_full_barrier();
        let now = self.seq(vector);
        // Where one is replaced, an interrupt may have been counted whose handler waits for the
        // lock to signal it: it is the new one's.
        let since = match &replaced {
            Some(replaced) => eventfds.signalled_since(replaced),
            None => now,
        };
        binding.since = since;
        // What the file has seen beyond that is not pending, and is still to be signalled.
        if seen.is_some_and(|seen| is_after(since, seen)) {
            binding.eventfd.signal();
        }
        eventfds.insert(binding);
        drop(eventfds);
        // After the lock: it may be the last reference to the eventfd.
        drop(replaced);
        Ok(())
    }

    /// Unbinds what the file `owner` has bound to `vector`, if anything. May sleep.
    pub(crate) fn unbind(&self, owner: FileId, vector: usize) {
        let Some(bound) = self.bound.get(vector) else {
            return;
        };
        let mut eventfds = bound.eventfds.lock();
        let removed = eventfds.remove(owner);
        bound.count.store(eventfds.len(), Relaxed);
        drop(eventfds);
        // After the lock: it may be the last reference to the eventfd.
        drop(removed);
    }

    /// Number of eventfds that are bound.
    pub(crate) fn eventfds(&self) -> u64 {
        let counts = self.bound.iter().map(|bound| bound.count.load(Relaxed));
        counts.map(u64::from).sum()
    }

    /// Mask of the vectors to which the file `owner` has bound an eventfd.
    pub(crate) fn bound_vectors(&self, owner: FileId) -> u64 {
        let vectors = self.bound.iter().enumerate();
        let bound = vectors.filter(|(_, bound)| bound.eventfds.lock().contains(owner));
        bound.fold(0, |mask, (vector, _)| mask | 1 << vector)
    }
}
