// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who comes and goes, as events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ivshmem::Link;

use crate::cancel::{nap, Cancel};
use crate::presence::Presence;
use crate::seat::Seat;
use crate::Result;

/// Another program came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// It has joined, or was there when the looking began.
    Joined {
        /// Its slot.
        slot: u32,
        /// Its number for this time.
        incarnation: u32,
        /// Its peer ID.
        peer_id: u32,
    },
    /// It has left its slot, or another one has taken that.
    Left {
        /// As above.
        slot: u32,
        /// As above.
        incarnation: u32,
    },
    /// It has been silent for too long.
    Lost {
        /// As above.
        slot: u32,
        /// As above.
        incarnation: u32,
    },
    /// It was lost, and shows that it lives: it had stood still.
    Returned {
        /// As above.
        slot: u32,
        /// As above.
        incarnation: u32,
    },
}

/// Who comes and goes: what [`Member::changes`](crate::Member::changes) gives. It begins with all who are there.
///
/// Nobody is rung when a program joins or leaves, so this looks twice in a heartbeat, as long as it is called; one that
/// joins and leaves in between is not seen.
#[derive(Debug)]
pub struct Changes<L: Link> {
    seat: Arc<Seat<L>>,
    /// Of each slot.
    before: Vec<Presence>,
    found: VecDeque<Change>,
    next_look: Instant,
    cancel: Option<Cancel>,
}

impl<L: Link> Changes<L> {
    pub(crate) fn new(seat: &Arc<Seat<L>>) -> Self {
        let slots = seat.plan.layout().slots() as usize;
        Self {
            seat: Arc::clone(seat),
            before: vec![Presence::Absent; slots],
            found: VecDeque::new(),
            next_look: Instant::now(),
            cancel: None,
        }
    }

    /// Lets another thread end the waiting, also in calls to come, which give [`Error::Cancelled`](crate::Error::Cancelled)
    /// then.
    pub fn set_cancel(&mut self, cancel: &Cancel) {
        self.cancel = Some(cancel.clone());
    }

    /// Waits for the next change; `None` if the time is over. A limit of `None` waits for ever, and zero only looks, if it
    /// is time to. Shows that this program lives.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`](crate::Error::Cancelled), [`Error::Reset`](crate::Error::Reset),
    /// [`Error::Replaced`](crate::Error::Replaced), [`Error::Link`](crate::Error::Link).
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Change>> {
        let begin = Instant::now();
        loop {
            if let Some(change) = self.found.pop_front() {
                return Ok(Some(change));
            }
            let now = Instant::now();
            if now >= self.next_look {
                self.seat.awake()?;
                self.look()?;
                self.next_look = now + self.seat.plan.heartbeat() / 2;
                continue;
            }
            let left = timeout.map(|limit| limit.saturating_sub(begin.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            let rest = self.next_look - now;
            nap(
                left.map_or(rest, |left| left.min(rest)),
                self.cancel.as_ref(),
            )?;
        }
    }

    /// Looks at all other slots.
    fn look(&mut self) -> Result<()> {
        for (slot, before) in (0..).zip(&mut self.before) {
            if slot != self.seat.slot {
                let now = self.seat.presence(slot)?;
                self.found.extend(between(slot, *before, now));
                *before = now;
            }
        }
        Ok(())
    }
}

/// The number of whoever is there.
fn incarnation(presence: Presence) -> Option<u32> {
    match presence {
        Presence::Absent => None,
        Presence::Present { incarnation, .. } | Presence::Lost { incarnation } => Some(incarnation),
    }
}

/// What has happened between two looks at a slot.
fn between(slot: u32, before: Presence, now: Presence) -> impl Iterator<Item = Change> {
    let same = incarnation(before) == incarnation(now);
    let left = incarnation(before).filter(|_| !same);
    let left = left.map(|incarnation| Change::Left { slot, incarnation });
    let before = if same { before } else { Presence::Absent };
    let came = match (before, now) {
        (
            Presence::Absent,
            Presence::Present {
                incarnation,
                peer_id,
            },
        ) => Some(Change::Joined {
            slot,
            incarnation,
            peer_id,
        }),
        (Presence::Lost { .. }, Presence::Present { incarnation, .. }) => {
            Some(Change::Returned { slot, incarnation })
        }
        (Presence::Absent | Presence::Present { .. }, Presence::Lost { incarnation }) => {
            Some(Change::Lost { slot, incarnation })
        }
        _ => None,
    };
    left.into_iter().chain(came)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_from_one_look_to_the_next_has_its_changes() {
        let (absent, slot) = (Presence::Absent, 3);
        let there = |incarnation| Presence::Present {
            incarnation,
            peer_id: 9,
        };
        let lost = |incarnation| Presence::Lost { incarnation };
        let joined = |incarnation| Change::Joined {
            slot,
            incarnation,
            peer_id: 9,
        };
        let left = Change::Left {
            slot,
            incarnation: 1,
        };
        let gone = |incarnation| Change::Lost { slot, incarnation };
        let back = Change::Returned {
            slot,
            incarnation: 1,
        };
        let cases = [
            (absent, absent, vec![]),
            (absent, there(1), vec![joined(1)]),
            (absent, lost(1), vec![gone(1)]),
            (there(1), there(1), vec![]),
            (there(1), absent, vec![left]),
            (there(1), lost(1), vec![gone(1)]),
            (there(1), there(2), vec![left, joined(2)]),
            (there(1), lost(2), vec![left, gone(2)]),
            (lost(1), lost(1), vec![]),
            (lost(1), absent, vec![left]),
            (lost(1), there(1), vec![back]),
            (lost(1), there(2), vec![left, joined(2)]),
        ];
        for (before, now, changes) in cases {
            assert_eq!(between(slot, before, now).collect::<Vec<_>>(), changes);
        }
    }
}
