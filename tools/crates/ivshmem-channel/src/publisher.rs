// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The end of a topic that publishes, with doorbells.

use ivshmem::Link;

use crate::end::End;
use crate::ring::Handover;
use crate::topic::{Topic, Writer};
use crate::Result;

/// The end of a topic that publishes. It never waits for anybody: who reads too slowly misses values.
#[derive(Debug)]
pub struct Publisher<L: Link + Clone> {
    writer: Writer<L>,
    end: End<L, Topic>,
}

impl<L: Link + Clone> Publisher<L> {
    pub(crate) fn new(end: End<L, Topic>) -> Result<Self> {
        let seat = &end.seat;
        // A predecessor that may still run has lost this end when we joined.
        let before = Handover::Ended;
        let writer = Writer::attach(seat.link.clone(), end.place, before, &mut seat.may());
        Ok(Self {
            writer: writer.map_err(|fault| seat.explain(fault))?,
            end,
        })
    }

    /// The longest value in bytes.
    pub fn longest(&self) -> usize {
        self.end.place.size as usize
    }

    /// Publishes a value, whole or not at all, and rings those who wait for one. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`](crate::Error::TooLong), [`Error::Reset`](crate::Error::Reset),
    /// [`Error::Replaced`](crate::Error::Replaced), [`Error::Link`](crate::Error::Link);
    /// [`Error::Corrupt`](crate::Error::Corrupt) if so many programs were replaced while they published that fewer than
    /// two buffers are left.
    pub fn publish(&mut self, value: &[u8]) -> Result<()> {
        let seat = &self.end.seat;
        seat.attend()?;
        let waiting = self.writer.publish(value);
        let waiting = waiting.map_err(|fault| seat.explain(fault))?;
        // Another program's bits: those that are nobody's are left out.
        let slots = 0..seat.plan.layout().slots();
        for slot in slots.filter(|slot| waiting & 1 << slot != 0) {
            seat.ring(slot)?;
        }
        Ok(())
    }
}
