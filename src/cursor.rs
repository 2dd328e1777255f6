// SPDX-License-Identifier: GPL-2.0

//! What one open file has seen of the device's events.

use kernel::{
    prelude::*,
    sync::{
        new_spinlock,
        SpinLock, //
    }, //
};

use crate::{
    abi::events::Event,
    events::Events, //
};

/// Most records of one [`Batch`].
const BATCH: usize = 8;

/// Events that were taken from a cursor: records for `read`.
pub(crate) struct Batch {
    records: [Event; BATCH],
    len: usize,
}

impl Batch {
    /// Most records of one.
    pub(crate) const MAX: usize = BATCH;

    /// Nothing.
    pub(crate) fn new() -> Self {
        Self {
            records: [Event::default(); BATCH],
            len: 0,
        }
    }

    /// The records, lowest vector first.
    pub(crate) fn records(&self) -> &[Event] {
        self.records.get(..self.len).unwrap_or(&[])
    }
}

/// The position of one open file in the events of its device.
#[pin_data]
pub(crate) struct Cursor {
    /// The counts that were seen, for each vector. Process context only.
    #[pin]
    seen: SpinLock<KVec<u64>>,
}

impl Cursor {
    /// A cursor for the first `vectors` vectors that has seen what came so far. May sleep.
    pub(crate) fn new(events: &Events, vectors: usize) -> impl PinInit<Self, Error> + '_ {
        pin_init::pin_init_scope(move || {
            let mut seen = KVec::with_capacity(vectors, GFP_KERNEL_ACCOUNT)?;
            for vector in 0..vectors {
                seen.push(events.seq(vector), GFP_KERNEL_ACCOUNT)?;
            }
            Events::observed();
            Ok(try_pin_init!(Self {
                seen <- new_spinlock!(seen, "ivshmem_cursor"),
            }? Error))
        })
    }

    /// The count of `vector` that was seen.
    pub(crate) fn seen(&self, vector: usize) -> Option<u64> {
        self.seen.lock().get(vector).copied()
    }

    /// Whether a vector of `mask` is pending.
    pub(crate) fn is_pending(&self, events: &Events, mask: u64) -> bool {
        let seen = self.seen.lock();
        let pending = bits(mask).any(|vector| {
            let seen = seen.get(vector);
            seen.is_some_and(|seen| *seen != events.seq(vector))
        });
        if pending {
            Events::observed();
        }
        pending
    }

    /// Takes the events of the pending ones among the vectors of `mask` into `batch`, at most
    /// `room` and as many as it holds, and marks just those seen. Whether there were any.
    pub(crate) fn take(&self, events: &Events, mask: u64, room: usize, batch: &mut Batch) -> bool {
        batch.len = 0;
        let mut all = self.seen.lock();
        for vector in bits(mask) {
            if batch.len >= room {
                break;
            }
            let (Some(seen), Some(record)) =
                (all.get_mut(vector), batch.records.get_mut(batch.len))
            else {
                break;
            };
            let seq = events.seq(vector);
            if seq != *seen {
                *record = Event {
                    // CAST: Below `MAX_VECTORS`.
                    vector: vector as u32,
                    reserved: 0,
                    count: seq.wrapping_sub(*seen),
                };
                *seen = seq;
                batch.len += 1;
            }
        }
        if batch.len == 0 {
            return false;
        }
        Events::observed();
        true
    }

    /// Marks the pending ones among the vectors of `mask` seen, and returns their mask.
    pub(crate) fn take_mask(&self, events: &Events, mask: u64) -> u64 {
        let mut taken = 0;
        let mut all = self.seen.lock();
        for vector in bits(mask) {
            let Some(seen) = all.get_mut(vector) else {
                break;
            };
            let seq = events.seq(vector);
            if seq != *seen {
                *seen = seq;
                taken |= 1 << vector;
            }
        }
        if taken != 0 {
            Events::observed();
        }
        taken
    }

    /// Makes `count` events of `vector` pending again that were taken but could not be delivered.
    pub(crate) fn put_back(&self, vector: usize, count: u64) {
        if let Some(seen) = self.seen.lock().get_mut(vector) {
            // Somebody else may have taken newer ones meanwhile: those stay seen.
            *seen = seen.wrapping_sub(count);
        }
    }
}

/// The numbers of the bits that are set in `mask`, lowest first.
pub(crate) fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        // CAST: At most 64.
        let bit = mask.trailing_zeros() as usize;
        (mask != 0).then(|| {
            mask &= mask - 1;
            bit
        })
    })
}
