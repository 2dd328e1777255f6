// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A slot that is ours: what a member and its senders and receivers share.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ivshmem::{Bell, Link, Lock, Process, MAX_PEER, MAX_RING_VECTOR};
use rustix::time::{clock_gettime, ClockId};

use crate::layout::header;
use crate::presence::{presence, Pulse};
use crate::ring::Fault;
use crate::slot::{bound, Owner, Slot, Words};
use crate::{Error, Plan, Presence, Result};

/// Instead of a vector: do not ring, the owner cannot be rung and looks by itself.
pub(crate) const NO_VECTOR: u32 = u32::MAX;

/// The longest sleep, whatever the header says: it is what a lost doorbell costs.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// A slot that is ours.
#[derive(Debug)]
pub(crate) struct Seat<L: Link> {
    pub link: L,
    pub base: u64,
    pub plan: Plan,
    pub slot: u32,
    pub owner: Owner,
    /// Where the slot is.
    ours: Slot,
    /// The vector by which we are rung, or [`NO_VECTOR`].
    vector: u32,
    /// Shows to programs of this machine that we have not ended.
    lock: Option<Lock>,
    /// Who has joined.
    process: Process,
    /// The memory was taken away: it must not be touched any more.
    gone: AtomicBool,
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

/// What a program joins with.
pub(crate) struct Claim<L> {
    pub link: L,
    pub base: u64,
    pub plan: Plan,
    pub slot: u32,
    pub ours: Slot,
    pub owner: Owner,
    pub vector: u32,
    pub lock: Option<Lock>,
}

impl<L: Link> Seat<L> {
    /// Of a slot whose owner we are by now. Says so to all.
    pub fn new(claim: Claim<L>) -> Result<Self> {
        let slots = claim.plan.layout().slots() as usize;
        let seat = Self {
            link: claim.link,
            base: claim.base,
            plan: claim.plan,
            slot: claim.slot,
            owner: claim.owner,
            ours: claim.ours,
            vector: claim.vector,
            lock: claim.lock,
            process: Process::this(),
            gone: AtomicBool::new(false),
            due_ms: AtomicU64::new(0),
            state: Mutex::new(State {
                heartbeat: 0,
                pulses: vec![None; slots],
                in_use: BTreeSet::new(),
            }),
        };
        seat.say(0)?;
        Ok(seat)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the channel is the one that we joined. This is asked for each message; whether the slot is still ours is
    /// told by the rings themselves, and by each heartbeat.
    #[inline]
    pub fn check_generation(&self) -> Result<()> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(ivshmem::Error::Gone.into());
        }
        check_generation(&self.link, self.base, &self.plan)
    }

    /// Whether the channel is the one that we joined, and the slot is ours.
    pub fn check(&self) -> Result<()> {
        self.check_generation()?;
        if self.ours.owner(&self.link)? != self.owner {
            return Err(Error::Replaced);
        }
        Ok(())
    }

    /// What is done with the memory at the end, if it may be touched and the slot is ours, and not our parent's.
    pub fn at_end(&self, finish: impl FnOnce() -> Result<()>) {
        if !self.process.is_this() {
            return;
        }
        let touchable = !self.gone.load(Ordering::Relaxed) && !self.link.is_gone();
        if touchable && self.check().is_ok() {
            // Others find out by the heartbeat if this fails, and nobody is left to tell.
            let _ = finish();
        }
    }

    /// What a ring asks while an end of it is taken over.
    pub fn may(&self) -> impl FnMut() -> Result<(), Fault> + '_ {
        || self.check().map_err(|_| Fault::Replaced)
    }

    /// What a fault of one of our rings means.
    #[cold]
    pub fn explain(&self, fault: Fault) -> Error {
        let told = matches!(fault, Fault::Replaced | Fault::Corrupt(_));
        match (fault, self.check()) {
            // What a successor does looks wrong to who has not noticed it.
            (_, Err(error)) if told => error,
            (Fault::Replaced, _) => Error::Corrupt("somebody acts as if it had our slot"),
            (other, _) => other.into(),
        }
    }

    /// [`check_generation`](Self::check_generation), then [`beat`](Self::beat): what each call of an end begins with.
    #[inline]
    pub fn attend(&self) -> Result<()> {
        self.check_generation()?;
        self.beat()
    }

    /// Shows that we live, if it is time to. This is called for each message.
    #[inline]
    pub fn beat(&self) -> Result<()> {
        let now = clock_ms();
        match now < self.due_ms.load(Ordering::Relaxed) {
            true => Ok(()),
            false => self.beat_now(now),
        }
    }

    /// Another number after each heartbeat.
    #[inline]
    pub fn last_beat(&self) -> u64 {
        self.due_ms.load(Ordering::Relaxed)
    }

    #[cold]
    fn beat_now(&self, now: u64) -> Result<()> {
        self.check()?;
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
        let domain = |lock: &Lock| bound(lock.domain(), self.owner.incarnation);
        let words = Words {
            joined: self.owner.incarnation,
            heartbeat,
            peer_id: self.link.peer_id(),
            vector: self.vector,
            domain: self.lock.as_ref().map_or(0, domain),
            machine: self.lock.as_ref().map_or(0, Lock::machine),
        };
        Ok(self.ours.say(&self.link, &words)?)
    }

    /// Who is in slot `slot`.
    pub fn presence(&self, slot: u32) -> Result<Presence> {
        self.check_generation()?;
        let place = place_of(&self.plan, self.base, slot)?;
        let mut state = self.state();
        let pulse = &mut state.pulses[slot as usize];
        Ok(presence(&self.link, &self.plan, place, pulse)?)
    }

    /// Whether slot `slot` belongs to the program with this number.
    pub fn is_owner(&self, slot: u32, incarnation: u32) -> Result<bool> {
        self.check_generation()?;
        let owner = place_of(&self.plan, self.base, slot)?.owner(&self.link)?;
        Ok(owner.is_of(self.plan.generation()) && owner.incarnation == incarnation)
    }

    /// Rings whoever is in slot `slot`; nobody is no error.
    pub fn ring(&self, slot: u32) -> Result<()> {
        let place = place_of(&self.plan, self.base, slot)?;
        if let Some(claim) = place.claim(&self.link, self.plan.generation())? {
            // Numbers of another program: out of range they are nobody's.
            let real = claim.peer_id <= MAX_PEER && claim.vector <= MAX_RING_VECTOR;
            if real {
                match self.note(self.link.ring(claim.peer_id, claim.vector)) {
                    // Who cannot ring is found out when the others look.
                    Err(Error::Link(ivshmem::Error::NoDoorbell)) => {}
                    rung => rung?,
                }
            }
        }
        Ok(())
    }

    /// Sleeps while the word is `value`, until rung, or for at most `left` or until the next heartbeat. Returns
    /// for any reason, also for none: the caller looks again. A ring that gets lost so costs a heartbeat.
    /// Whether the word differs then, as far as is known.
    pub fn sleep(&self, (word, value): (u64, u32), left: Option<Duration>) -> Result<bool> {
        let limit = self.sleep_limit(left);
        let differs = match self.note(self.link.wait_word(word, value, Some(limit))) {
            // A signal is no reason to stop waiting; whoever wants to be stopped has other ways.
            Err(Error::Link(ivshmem::Error::Interrupted)) => false,
            other => other?,
        };
        self.check()?;
        self.beat()?;
        Ok(differs)
    }

    /// The longest sleep if that is to end before `left`.
    pub fn sleep_limit(&self, left: Option<Duration>) -> Duration {
        let due = self.due_ms.load(Ordering::Relaxed);
        // At least a tick of the clock, so that nobody turns in circles before it.
        let until = Duration::from_millis(due.saturating_sub(clock_ms()).max(1));
        let limit = left.map_or(until, |left| left.min(until));
        limit.min(LONGEST_SLEEP)
    }

    /// After a sleep on descriptors, which do not tell why they are ready.
    pub fn awake(&self) -> Result<()> {
        if self.link.is_gone() {
            return self.note(Err(ivshmem::Error::Gone));
        }
        self.check()?;
        self.beat()
    }

    /// How often to look where nobody can ring us.
    pub fn interval(&self) -> Duration {
        // A timer that is set to zero never goes off.
        self.link.interval().max(Duration::from_nanos(1))
    }

    /// What is ready once others ring us; `None` if they cannot.
    pub fn bell(&self) -> Result<Option<Bell>> {
        if self.vector == NO_VECTOR {
            return Ok(None);
        }
        match self.note(self.link.bell(self.vector)) {
            Err(Error::Link(ivshmem::Error::NoDoorbell)) => Ok(None),
            bell => bell.map(Some),
        }
    }

    /// Remembers that the memory is gone, if that is what a call says.
    fn note<T>(&self, result: ivshmem::Result<T>) -> Result<T> {
        if let Err(ivshmem::Error::Gone) = result {
            self.gone.store(true, Ordering::Relaxed);
        }
        Ok(result?)
    }

    /// Takes an end of ring `index`; `false` if it is in use.
    pub fn take_end(&self, index: usize) -> bool {
        self.state().in_use.insert(index)
    }

    pub fn give_back_end(&self, index: usize) {
        self.state().in_use.remove(&index);
    }
}

impl<L: Link> Drop for Seat<L> {
    fn drop(&mut self) {
        self.at_end(|| {
            let left = self.owner.left();
            let _ = self.ours.replace(&self.link, self.owner, left)?;
            Ok(())
        });
    }
}

/// Whether the channel at `base` is the one that was found.
#[inline]
pub(crate) fn check_generation(
    memory: &impl ivshmem::Memory,
    base: u64,
    plan: &Plan,
) -> Result<()> {
    let word = base + header::GENERATION as u64;
    match memory.load32(word, Ordering::Acquire)? == plan.generation() {
        true => Ok(()),
        false => Err(Error::Reset),
    }
}

/// Slot `slot` of a channel that begins at `base`.
pub(crate) fn place_of(plan: &Plan, base: u64, slot: u32) -> Result<Slot> {
    let no_such = || Error::NoSuch(format!("slot {slot}"));
    let at = plan.slot(slot).ok_or_else(no_such)?;
    Ok(Slot::at(base + at))
}

/// A monotonic clock in milliseconds, a tick or two behind. Unlike [`Instant`] it takes no system call on any clock
/// source of a guest.
#[inline]
fn clock_ms() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    // CAST: Neither is negative on this clock.
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}
