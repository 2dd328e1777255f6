// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a member and the ends of its rings share: the slot, the heartbeat, and which ends are in use.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ivshmem::{Link, MAX_PEER, MAX_RING_VECTOR};
use rustix::time::{clock_gettime, ClockId};

use crate::layout::header;
use crate::presence::Pulse;
use crate::random::random;
use crate::ring::Place;
use crate::slot::{Owner, Slot, Words};
use crate::{Error, Plan, Presence, Result};

/// Instead of a vector: do not ring, the owner cannot be rung and looks by itself.
const NO_VECTOR: u32 = u32::MAX;

/// What a member and its senders and receivers share.
#[derive(Debug)]
pub(crate) struct Seat<L: Link> {
    pub link: L,
    base: u64,
    plan: Plan,
    slot: u32,
    /// Where that is.
    ours: Slot,
    owner: Owner,
    /// The vector by which we are rung, or [`NO_VECTOR`].
    vector: u32,
    /// When the next heartbeat is due, by [`clock_ms`].
    due_ms: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    heartbeat: u32,
    /// Of each slot.
    pulses: Vec<Option<Pulse>>,
    /// Indices of rings of which an end is in use here.
    in_use: BTreeSet<usize>,
}

/// A slot that can be taken.
#[derive(Clone, Copy)]
pub(crate) struct Vacancy {
    /// Who was there last.
    pub before: Owner,
    /// Whether that one has not left: it was started before on this peer, or is silent.
    pub claimed: bool,
}

impl<L: Link> Seat<L> {
    /// Slot `slot`, before it is [claimed](Self::claim).
    pub fn new(link: L, base: u64, plan: Plan, slot: u32, vector: u32) -> Result<Self> {
        let ours = place_of(&plan, base, slot)?;
        let slots = plan.layout().slots() as usize;
        let owner = Owner {
            generation: plan.generation(),
            incarnation: random()?,
        };
        let vector = match link.vectors() {
            0 => NO_VECTOR,
            _ => vector,
        };
        Ok(Self {
            link,
            base,
            plan,
            slot,
            ours,
            owner,
            vector,
            due_ms: AtomicU64::new(0),
            state: Mutex::new(State {
                heartbeat: 0,
                pulses: vec![None; slots],
                in_use: BTreeSet::new(),
            }),
        })
    }

    /// Our slot.
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// Our number for this time.
    pub fn incarnation(&self) -> u32 {
        self.owner.incarnation
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the channel is the one that we joined, and the slot is ours.
    pub fn check(&self) -> Result<()> {
        self.check_generation()?;
        if self.ours.owner(&self.link)? != self.owner {
            return Err(Error::Replaced);
        }
        Ok(())
    }

    fn check_generation(&self) -> Result<()> {
        let word = self.base + header::GENERATION as u64;
        if self.link.load32(word, Ordering::Acquire)? != self.plan.generation() {
            return Err(Error::Reset);
        }
        Ok(())
    }

    /// Shows that we live, if it is time to. This is called for each message.
    pub fn beat(&self) -> Result<()> {
        let now = clock_ms();
        if now < self.due_ms.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut state = self.state();
        // Early enough for a clock that is coarse and a caller that is late.
        let next = now + u64::from(self.plan.layout().heartbeat_ms() / 2);
        self.due_ms.store(next, Ordering::Relaxed);
        state.heartbeat = state.heartbeat.wrapping_add(1);
        self.say(state.heartbeat)
    }

    /// Says in our slot who we are. All of it at each heartbeat: who lost the slot to us can have been stopped
    /// while it did the same, and so write over it later.
    fn say(&self, heartbeat: u32) -> Result<()> {
        let words = Words {
            joined: self.owner.incarnation,
            heartbeat,
            peer_id: self.link.peer_id(),
            vector: self.vector,
        };
        Ok(self.ours.say(&self.link, &words)?)
    }

    /// What the owner of slot `slot` says of itself; `None` if nobody has joined.
    fn claim_of(&self, slot: u32) -> Result<Option<Words>> {
        let slot = place_of(&self.plan, self.base, slot)?;
        let owner = slot.owner(&self.link)?;
        if !owner.is_of(self.plan.generation()) {
            return Ok(None);
        }
        let words = slot.words(&self.link)?;
        Ok((words.joined == owner.incarnation).then_some(words))
    }

    /// Who is in slot `slot`.
    pub fn presence(&self, slot: u32) -> Result<Presence> {
        let Some(claim) = self.claim_of(slot)? else {
            return Ok(Presence::Absent);
        };
        let incarnation = claim.joined;
        let mut state = self.state();
        let pulse = &mut state.pulses[slot as usize];
        let silent = Pulse::watch(pulse, incarnation, claim.heartbeat, Instant::now());
        if silent >= self.plan.lost_after() {
            return Ok(Presence::Lost { incarnation });
        }
        Ok(Presence::Present {
            incarnation,
            peer_id: claim.peer_id,
        })
    }

    /// How our slot can be taken; `None` if somebody who lives has it. `pulse` is what was seen of it so far.
    pub fn vacancy(&self, pulse: &mut Option<Pulse>) -> Result<Option<Vacancy>> {
        self.check_generation()?;
        let before = self.ours.owner(&self.link)?;
        if !before.is_of(self.plan.generation()) {
            let claimed = false;
            return Ok(Some(Vacancy { before, claimed }));
        }
        let words = self.ours.words(&self.link)?;
        // Not so while somebody joins: the words are still those of who was there before.
        let joined = words.joined == before.incarnation;
        let ours = joined && words.peer_id == self.link.peer_id() && words.vector != NO_VECTOR;
        let now = Instant::now();
        let silent = Pulse::watch(pulse, before.incarnation, words.heartbeat, now);
        let free = ours || silent >= self.plan.lost_after();
        let claimed = true;
        Ok(free.then_some(Vacancy { before, claimed }))
    }

    /// Takes our slot from `before`. Of two who try at the same time one gets it, and the other fails.
    pub fn claim(&self, before: Owner) -> Result<()> {
        if !self.ours.replace(&self.link, before, self.owner)? {
            return Err(Error::SlotTaken(self.slot));
        }
        self.say(0)
    }

    /// Rings whoever is in slot `slot`; nobody is no error.
    pub fn ring(&self, slot: u32) -> Result<()> {
        if let Some(claim) = self.claim_of(slot)? {
            // Numbers of another program: out of range they are nobody's.
            let real = claim.peer_id <= MAX_PEER && claim.vector <= MAX_RING_VECTOR;
            if real {
                self.link.ring(claim.peer_id, claim.vector)?;
            }
        }
        Ok(())
    }

    /// Sleeps while the word is `value`, until rung, or for at most `left` or the time of a heartbeat. Returns
    /// for any reason, also for none: the caller looks again. A ring that gets lost so costs a heartbeat.
    pub fn sleep(&self, (word, value): (u64, u32), left: Option<Duration>) -> Result<()> {
        let beat = self.plan.heartbeat();
        let limit = left.map_or(beat, |left| left.min(beat));
        self.link.wait_word(word, value, Some(limit))?;
        self.check()?;
        self.beat()
    }
}

impl<L: Link> Drop for Seat<L> {
    fn drop(&mut self) {
        // Others find out by the heartbeat if this fails.
        if self.check_generation().is_ok() {
            let left = self.owner.left();
            let _ = self.ours.replace(&self.link, self.owner, left);
        }
    }
}

/// Slot `slot` of a channel that begins at `base`.
fn place_of(plan: &Plan, base: u64, slot: u32) -> Result<Slot> {
    let no_such = || Error::NoSuch(format!("slot {slot}"));
    let at = plan.slot(slot).ok_or_else(no_such)?;
    Ok(Slot::at(base + at))
}

/// A monotonic clock in milliseconds, a tick or two behind. Unlike [`Instant`] it takes no system call on any clock
/// source of a guest.
fn clock_ms() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    // CAST: Neither is negative on this clock.
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// One end of a ring, in use once in this program.
#[derive(Debug)]
pub(crate) struct End<L: Link> {
    pub seat: Arc<Seat<L>>,
    /// Of a ring with several senders: one sender's part.
    pub place: Place,
    index: usize,
}

impl<L: Link> End<L> {
    /// An end of the ring from slot `producer` to slot `consumer`, one of which is ours.
    pub fn take(seat: &Arc<Seat<L>>, producer: u32, consumer: u32) -> Result<Self> {
        let found = seat.plan.find(seat.base, producer, consumer);
        let (index, place) = found.ok_or_else(|| {
            Error::NoSuch(format!("ring from slot {producer} to slot {consumer}"))
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
        let (index, place) = found
            .ok_or_else(|| Error::NoSuch(format!("ring with several senders to slot {to}")))?;
        Self::new(seat, index, place)
    }

    fn new(seat: &Arc<Seat<L>>, index: usize, place: Place) -> Result<Self> {
        seat.check()?;
        if !seat.state().in_use.insert(index) {
            return Err(Error::InUse);
        }
        Ok(Self {
            seat: Arc::clone(seat),
            place,
            index,
        })
    }

    /// The senders of the ring, and where the part of each is.
    pub fn lanes(&self) -> impl Iterator<Item = (u32, Place)> {
        self.seat.plan.lanes(self.seat.base, self.index)
    }
}

impl<L: Link> Drop for End<L> {
    fn drop(&mut self) {
        self.seat.state().in_use.remove(&self.index);
    }
}
