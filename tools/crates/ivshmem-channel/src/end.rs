// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One end of a ring or of a topic, and the seat that it is used from.

use std::sync::Arc;

use ivshmem::Link;

use crate::ring::Place;
use crate::seat::Seat;
use crate::topic::Topic;
use crate::{Error, Result};

/// One end of a ring or of a topic, in use once in this program.
#[derive(Debug)]
pub(crate) struct End<L: Link, P = Place> {
    pub seat: Arc<Seat<L>>,
    /// Of a ring with several senders: one sender's part.
    pub place: P,
    index: usize,
}

impl<L: Link> End<L> {
    /// An end of the ring from slot `producer` to slot `consumer`, one of which is ours.
    pub fn take(seat: &Arc<Seat<L>>, producer: u32, consumer: u32) -> Result<Self> {
        let found = seat.plan.find(seat.base, producer, consumer);
        let (index, place) = found.ok_or_else(|| {
            Error::NoSuch(format!(
                "ring buffer from slot {producer} to slot {consumer}"
            ))
        })?;
        Self::new(seat, index, place)
    }

    /// The receiving end of the ring from all other slots.
    pub fn take_multi(seat: &Arc<Seat<L>>) -> Result<Self> {
        let to = seat.slot;
        let found = seat.plan.find_multi(to).and_then(|index| {
            let (_, first) = seat.plan.lanes(seat.base, index).next()?;
            Some((index, first))
        });
        let (index, place) = found.ok_or_else(|| {
            Error::NoSuch(format!("ring buffer with several senders to slot {to}"))
        })?;
        Self::new(seat, index, place)
    }

    /// The senders of the ring, and where the part of each is.
    pub fn lanes(&self) -> impl Iterator<Item = (u32, Place)> {
        self.seat.plan.lanes(self.seat.base, self.index)
    }
}

impl<L: Link> End<L, Topic> {
    /// The end of topic `number` that publishes, if `publishes`, or else one that reads.
    ///
    /// With the slot that publishes.
    pub fn take_topic(seat: &Arc<Seat<L>>, number: usize, publishes: bool) -> Result<(Self, u32)> {
        let found = seat.plan.topic(seat.base, number);
        let found = found.filter(|(slot, _)| (*slot == seat.slot) == publishes);
        let (slot, topic) = found.ok_or_else(|| {
            let what = if publishes { "publishes" } else { "reads" };
            Error::NoSuch(format!("topic {number} that slot {} {what}", seat.slot))
        })?;
        // Ends of topics are counted after those of rings.
        let rings = seat.plan.layout().rings().len();
        Ok((Self::new(seat, rings + number, topic)?, slot))
    }
}

impl<L: Link, P> End<L, P> {
    fn new(seat: &Arc<Seat<L>>, index: usize, place: P) -> Result<Self> {
        seat.check()?;
        if !seat.take_end(index) {
            return Err(Error::InUse);
        }
        Ok(Self {
            seat: Arc::clone(seat),
            place,
            index,
        })
    }
}

impl<L: Link, P> Drop for End<L, P> {
    fn drop(&mut self) {
        self.seat.give_back_end(self.index);
    }
}
