// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who has joined, for those who have not.

use ivshmem::Memory;

use crate::presence::{presence, Pulse};
use crate::seat::{check_generation, place_of};
use crate::{Plan, Presence, Result};

/// Tells who has joined a channel, and takes no slot in it: what [`Channel::observe`](crate::Channel::observe) gives. It
/// only reads.
#[derive(Debug)]
pub struct Observer<L> {
    link: L,
    base: u64,
    plan: Plan,
    slots: Vec<Observed>,
}

/// What was seen of a slot.
#[derive(Clone, Copy, Debug, Default)]
struct Observed {
    pulse: Option<Pulse>,
    /// The incarnation whose heartbeat was seen to go on.
    alive: Option<u32>,
}

impl<L: Memory> Observer<L> {
    pub(crate) fn new(link: L, base: u64, plan: Plan) -> Self {
        let slots = vec![Observed::default(); plan.layout().slots() as usize];
        Self {
            link,
            base,
            plan,
            slots,
        }
    }

    /// Who is in slot `slot`; `None` while it is not known whether whoever has joined there still lives.
    ///
    /// A heartbeat takes time, and so does silence. So this has to be called several times in each heartbeat of the
    /// [layout](crate::Layout::heartbeat), until it answers: at the latest after the silence for which a program counts as
    /// lost. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuch`](crate::Error::NoSuch), [`Error::Reset`](crate::Error::Reset), [`Error::Link`](crate::Error::Link).
    pub fn presence(&mut self, slot: u32) -> Result<Option<Presence>> {
        check_generation(&self.link, self.base, &self.plan)?;
        let place = place_of(&self.plan, self.base, slot)?;
        let observed = &mut self.slots[slot as usize];
        let before = observed.pulse.map(Pulse::seen);
        let found = presence(&self.link, &self.plan, place, &mut observed.pulse)?;
        let Presence::Present { incarnation, .. } = found else {
            return Ok(Some(found));
        };
        let now = observed.pulse.map(Pulse::seen);
        let same = before.is_some_and(|(who, _)| who == incarnation);
        if same && before != now {
            observed.alive = Some(incarnation);
        }
        Ok((observed.alive == Some(incarnation)).then_some(found))
    }
}
