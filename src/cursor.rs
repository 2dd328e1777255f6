// SPDX-License-Identifier: GPL-2.0

//! What one open file has seen of the device's events, and which vectors it cares about.

use kernel::{
    prelude::*,
    sync::{
        new_spinlock_irq,
        SpinLockIrq, //
    }, //
};

use crate::{
    abi::{
        events::Event,
        pci::MAX_VECTORS, //
    },
    events::{
        Events,
        FileId, //
    },
    kapi::wait::ready, //
};

/// Which vectors a call is about.
#[derive(Clone, Copy)]
pub(crate) enum Among {
    /// Those that the file is subscribed to.
    Subscribed,
    /// Those of a mask.
    Mask(u64),
}

/// What the lock protects.
struct State {
    seen: [u64; MAX_VECTORS],
    subscribed: u64,
}

impl State {
    /// Pairs of vector and events that it has pending, lowest vector first.
    fn pending<'a>(
        &'a self,
        events: &'a Events,
        among: Among,
    ) -> impl Iterator<Item = (usize, u64)> + 'a {
        let mask = match among {
            Among::Subscribed => self.subscribed,
            Among::Mask(mask) => mask,
        };
        self.seen
            .iter()
            .enumerate()
            .filter_map(move |(vector, seen)| {
                let count = events.seq(vector).wrapping_sub(*seen);
                (mask & (1 << vector) != 0 && count != 0).then_some((vector, count))
            })
    }
}

/// Events that were taken from a cursor: records for `read`.
pub(crate) struct Taken {
    records: [Event; MAX_VECTORS],
    len: usize,
}

impl Taken {
    /// The records, lowest vector first.
    pub(crate) fn records(&self) -> &[Event] {
        self.records.get(..self.len).unwrap_or(&[])
    }

    /// Mask of the vectors.
    pub(crate) fn vectors(&self) -> u64 {
        self.records()
            .iter()
            .fold(0, |mask, event| mask | 1 << event.vector)
    }
}

/// The position of one open file in the events of its device.
#[pin_data]
pub(crate) struct Cursor {
    /// The file.
    pub(crate) owner: FileId,
    #[pin]
    // With interrupts off: `Events::bind` takes this lock under the one of the interrupt handler.
    state: SpinLockIrq<State>,
}

impl Cursor {
    /// A cursor that has seen what came so far and is subscribed to the vectors of `subscribed`.
    pub(crate) fn new(owner: FileId, events: &Events, subscribed: u64) -> impl PinInit<Self> + '_ {
        let state = State {
            seen: core::array::from_fn(|vector| events.seq(vector)),
            subscribed,
        };
        pin_init!(Self {
            owner,
            state <- new_spinlock_irq!(state, "ivshmem_cursor"),
        })
    }

    /// Replaces the subscription.
    pub(crate) fn subscribe(&self, mask: u64) {
        self.state.lock().subscribed = mask;
    }

    /// Mask of the subscribed vectors.
    pub(crate) fn subscribed(&self) -> u64 {
        self.state.lock().subscribed
    }

    /// The numbers that were seen, for each vector.
    pub(crate) fn seen(&self) -> [u64; MAX_VECTORS] {
        self.state.lock().seen
    }

    /// Mask of the pending vectors.
    pub(crate) fn pending(&self, events: &Events, among: Among) -> u64 {
        let state = self.state.lock();
        let pending = state.pending(events, among);
        pending.fold(0, |mask, (vector, _)| mask | 1 << vector)
    }

    /// Takes the events of at most `room` pending vectors, and marks just those seen.
    pub(crate) fn take(&self, events: &Events, among: Among, room: usize) -> Taken {
        let mut taken = Taken {
            records: [Event::default(); MAX_VECTORS],
            len: 0,
        };
        let mut state = self.state.lock();
        for (record, (vector, count)) in taken
            .records
            .iter_mut()
            .zip(state.pending(events, among).take(room))
        {
            // CAST: Below `MAX_VECTORS`.
            record.vector = vector as u32;
            record.count = count;
            taken.len += 1;
        }
        for event in taken.records() {
            state.advance(event.vector, event.count);
        }
        taken
    }

    /// Makes events pending again that were taken but could not be delivered, and wakes other
    /// threads of the file: one that looked meanwhile saw nothing and went to sleep.
    pub(crate) fn put_back(&self, events: &Events, undelivered: &[Event]) {
        if undelivered.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for event in undelivered {
            // Somebody else may have taken newer ones meanwhile: those stay seen.
            state.advance(event.vector, event.count.wrapping_neg());
        }
        drop(state);
        events.queue().wake_all(ready::READ);
    }
}

impl State {
    fn advance(&mut self, vector: u32, count: u64) {
        // CAST: `u32` fits into `usize`.
        if let Some(seen) = self.seen.get_mut(vector as usize) {
            *seen = seen.wrapping_add(count);
        }
    }
}
