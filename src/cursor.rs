// SPDX-License-Identifier: GPL-2.0

//! What one open file has seen of the device's events.

use core::num::NonZero;

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

use crate::{
    abi::events::Event,
    events::Events,
    kapi::atomic::read_once, //
};

/// The position of one open file in the events of its device.
///
/// There is no lock: an event goes to whoever moves the count that was seen past it, by an exchange
/// that only one can win. What was seen is moved forward to a count of the vector that was read, so
/// that it is never ahead of it, and back only by what was put back.
pub(crate) struct Cursor {
    /// The counts that were seen, for each vector.
    seen: KVec<Atomic<u64>>,
}

impl Cursor {
    /// A cursor for the first `vectors` vectors that has seen what came so far. May sleep.
    pub(crate) fn new(events: &Events, vectors: usize) -> Result<Self> {
        let mut seen = KVec::with_capacity(vectors, GFP_KERNEL_ACCOUNT)?;
        for vector in 0..vectors {
            seen.push(Atomic::new(events.seq(vector)), GFP_KERNEL_ACCOUNT)?;
        }
        Events::observed();
        Ok(Self { seen })
    }

    /// The count of `vector` that was seen; `None` past the last vector.
    pub(crate) fn seen(&self, vector: usize) -> Option<u64> {
        self.seen.get(vector).map(read_once)
    }

    /// Whether a vector of `mask` is pending.
    pub(crate) fn is_pending(&self, events: &Events, mask: u64) -> bool {
        let pending = bits(mask).any(|vector| {
            let seen = self.seen(vector);
            seen.is_some_and(|seen| seen != events.seq(vector))
        });
        if pending {
            Events::observed();
        }
        pending
    }

    /// Takes the events of the lowest vector of `mask` that is pending, and marks just those seen.
    /// `None` if none is.
    pub(crate) fn take(&self, events: &Events, mask: u64) -> Option<Event> {
        for vector in bits(mask) {
            let count = self.take_vector(events, vector);
            if count != 0 {
                Events::observed();
                return Some(Event {
                    // CAST: Below `MAX_VECTORS`.
                    vector: vector as u32,
                    reserved: 0,
                    count,
                });
            }
        }
        None
    }

    /// Marks the pending ones among the vectors of `mask` seen, and returns their mask.
    pub(crate) fn take_mask(&self, events: &Events, mask: u64) -> u64 {
        let mut taken = 0;
        for vector in bits(mask) {
            if self.take_vector(events, vector) != 0 {
                taken |= 1 << vector;
            }
        }
        if taken != 0 {
            Events::observed();
        }
        taken
    }

    /// Marks the events of `vector` seen, and returns how many there were.
    fn take_vector(&self, events: &Events, vector: usize) -> u64 {
        let Some(word) = self.seen.get(vector) else {
            return 0;
        };
        loop {
            let seen = read_once(word);
            // These two are read in any order. If the count is the older one, it is behind what was
            // seen, and somebody has taken all that was counted before this call.
            let count = events.seq(vector).wrapping_sub(seen);
            if count == 0 || count > u64::MAX / 2 {
                return 0;
            }
            // Ordered like a lock, for whoever finds this in `seen`.
            if word.cmpxchg(seen, seen.wrapping_add(count), Full).is_ok() {
                return count;
            }
        }
    }

    /// Makes `count` events of `vector` pending again that were taken but could not be delivered.
    /// Newer ones that somebody else may have taken meanwhile stay seen.
    pub(crate) fn put_back(&self, vector: usize, count: u64) {
        if let Some(seen) = self.seen.get(vector) {
            seen.fetch_sub(count, Relaxed);
        }
    }
}

/// The numbers of the bits that are set in `mask`, lowest first.
pub(crate) fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let set = NonZero::new(mask)?;
        mask &= mask - 1;
        // CAST: Below 64.
        Some(set.trailing_zeros() as usize)
    })
}
