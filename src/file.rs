// SPDX-License-Identifier: GPL-2.0

//! State of an open `/dev/ivshmemN`: what it has seen, and waiting for what comes.

use kernel::{
    fs,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

use crate::{
    abi::{
        events::Event,
        regs::Doorbell, //
    },
    cursor::{
        bits,
        Cursor, //
    },
    device::Device,
    eventfds::FileId,
    kapi::{
        eventfd::EventFd,
        fan_in::FanIn,
        wait::{
            ready,
            wait_in,
            Exclusive,
            Place,
            Timeout, //
        }, //
    }, //
};

/// State of an open file; forked and duplicated descriptors share it.
#[pin_data]
pub(crate) struct File {
    id: FileId,
    /// Mask of the vectors that ever had an eventfd of this file.
    bound: Atomic<u64>,
    cursor: Cursor,
    /// Who waits for the vectors that the file is subscribed to, which are those it selects.
    #[pin]
    waiters: FanIn,
    device: Arc<Device>,
}

impl File {
    /// State of a file that is being opened; `ENODEV` once the device is gone. May sleep.
    pub(crate) fn new(device: &Arc<Device>, file: &fs::File) -> Result<Pin<KBox<Self>>> {
        let events = device.events();
        let this = KBox::pin_init(
            try_pin_init!(Self {
                id: device.next_file(),
                bound: Atomic::new(0),
                cursor: Cursor::new(events, device.vectors())?,
                waiters <- FanIn::new(events.queues().clone(), device.armed()),
                device: device.clone(),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )?;
        device.attach(file)?;
        Ok(this)
    }

    /// The file is closed, and its mappings are gone.
    pub(crate) fn close(&self, file: &fs::File) {
        for vector in bits(self.bound.load(Relaxed)) {
            self.device.events().unbind(self.id, vector);
        }
        self.device.detach(file);
    }

    /// The device, which may be gone.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// What this file has seen.
    pub(crate) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Who waits for the vectors that the file is subscribed to.
    pub(crate) fn waiters(&self) -> &FanIn {
        &self.waiters
    }

    /// Mask of the vectors that the file is subscribed to.
    pub(crate) fn subscribed(&self) -> u64 {
        self.waiters.selected()
    }

    /// Mask of the vectors to which the file has bound an eventfd.
    pub(crate) fn eventfds(&self) -> u64 {
        self.device.events().bound_vectors(self.id)
    }

    /// Whether something that the file is subscribed to is pending.
    pub(crate) fn is_pending(&self) -> bool {
        self.cursor
            .is_pending(self.device.events(), self.subscribed())
    }

    /// Takes the events of the lowest pending vector that the file is subscribed to: waits for one
    /// unless `nonblocking`. Process context.
    ///
    /// `EAGAIN` if it may not wait, `EOPNOTSUPP` if none can come, `ENODEV` once the device is gone
    /// and none is pending, `ERESTARTSYS` for a signal.
    pub(crate) fn next_event(&self, nonblocking: bool) -> Result<Event> {
        let events = self.device.events();
        let ready = || {
            // In this order: what came before the end is delivered before the end is reported.
            let dead = events.is_dead();
            match self.cursor.take(events, self.subscribed()) {
                None if dead => Some(Err(ENODEV)),
                event => event.map(Ok),
            }
        };
        if let Some(result) = ready() {
            return result;
        }
        self.device.check_can_wait()?;
        if nonblocking {
            return Err(EAGAIN);
        }
        self.wait(None, Timeout::Infinite, ready)?
    }

    /// Takes the events of the lowest pending vector above `vector` that the file is subscribed to,
    /// if there is one now.
    pub(crate) fn event_above(&self, vector: u32) -> Option<Event> {
        let above = u64::MAX.checked_shl(vector.saturating_add(1)).unwrap_or(0);
        self.cursor
            .take(self.device.events(), above & self.subscribed())
    }

    /// Makes events pending again that were taken but could not be delivered, and wakes other
    /// threads of the file: one that looked meanwhile saw nothing and went to sleep.
    #[cold] // The address was bad.
    pub(crate) fn put_back(&self, undelivered: impl Iterator<Item = (usize, u64)>) {
        let mut any = false;
        for (vector, count) in undelivered {
            self.cursor.put_back(vector, count);
            any = true;
            // Who waits on this file for vectors of a mask is there.
            if let Some(queue) = self.device.events().queues().source(vector) {
                queue.wake(ready::READ, Exclusive::All);
            }
        }
        if any {
            self.waiters.queue().wake(ready::READ, Exclusive::All);
        }
    }

    /// Sleeps until `done` returns something, which is asked before each sleep and after each
    /// interrupt of a vector of `mask`; without one, of those that the file is subscribed to. See
    /// [`wait_in`].
    pub(crate) fn wait<R>(
        &self,
        mask: Option<u64>,
        timeout: Timeout,
        mut done: impl FnMut() -> Option<R>,
    ) -> Result<R> {
        let woken = || self.device.count_wake_up();
        let queues = self.device.events().queues();
        match mask {
            None => self.waiters.queue().wait(timeout, woken, || {
                self.waiters.join();
                done()
            }),
            Some(mask) if mask.is_power_of_two() => {
                // CAST: Below 64.
                let queue = queues.source(mask.trailing_zeros() as usize);
                queue.ok_or(EINVAL)?.wait(timeout, woken, done)
            }
            Some(mask) => {
                let mut places = KVec::new();
                for queue in bits(mask).filter_map(|vector| queues.source(vector)) {
                    places.push(Place::new(queue), GFP_KERNEL)?;
                }
                wait_in(&mut places, timeout, woken, done)
            }
        }
    }

    /// Rings peers. While the device is reset, waits for the end of that: peers are told nothing of
    /// the reset, and one that sleeps would never hear of a doorbell that was lost. May sleep.
    ///
    /// `ENODEV` once the device is gone, `ERESTARTNOINTR` for a signal.
    #[inline(always)] // The call that programs make most often.
    pub(crate) fn ring(&self, doorbells: impl Iterator<Item = Doorbell> + Clone) -> Result {
        while !self.device.ring(doorbells.clone())? {
            self.wait_for_device()?;
        }
        Ok(())
    }

    /// Sleeps while the device is reset. The end of a reset wakes all that wait on the file, and so
    /// does the end of a device that does not come back, whose window is still paused then.
    #[cold]
    fn wait_for_device(&self) -> Result {
        let alive = || self.device.check_alive();
        let is_over = || (!self.device.window().is_paused() || alive().is_err()).then_some(());
        let waited = self.waiters.queue().wait(Timeout::Infinite, || (), is_over);
        // After the handler the call begins anew, whatever the program asked for: who rings does
        // not count on a failure, and a doorbell that is rung twice does no harm.
        waited.map_err(|_| ERESTARTNOINTR)?;
        alive()
    }

    /// Binds `eventfd` to `vector`, replacing what was bound there, and signals it at once if the
    /// vector is pending. May sleep.
    ///
    /// `ENODEV` once the device is gone, `ENOMEM`.
    pub(crate) fn bind(&self, vector: usize, eventfd: EventFd) -> Result {
        // Before, so that closing the file cannot miss it. Never cleared: a bit too many costs one
        // look.
        self.remember(1 << vector);
        let subscribed = self.subscribed() & (1 << vector) != 0;
        let seen = self.cursor.seen(vector).filter(|_| subscribed);
        self.device.events().bind(self.id, vector, eventfd, seen)
    }

    /// Unbinds the eventfd of `vector`, if there is one. May sleep.
    pub(crate) fn unbind(&self, vector: usize) {
        self.device.events().unbind(self.id, vector);
    }

    fn remember(&self, bit: u64) {
        let mut mask = self.bound.load(Relaxed);
        while let Err(now) = self.bound.cmpxchg(mask, mask | bit, Relaxed) {
            mask = now;
        }
    }
}
