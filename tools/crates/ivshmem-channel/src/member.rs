// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A slot that this program has joined.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ivshmem::{Link, MAX_PEER, MAX_RING_VECTOR};
use rustix::time::{clock_gettime, ClockId};

use crate::channel::random;
use crate::layout::header;
use crate::presence::Pulse;
use crate::ring::Place;
use crate::slot::{Owner, Slot, Words};
use crate::{Error, MultiReceiver, Plan, Presence, Receiver, Result, Sender};

/// Instead of a vector: do not ring, the owner cannot be rung and looks by itself.
const NO_VECTOR: u32 = u32::MAX;

/// A slot that this program has joined, until it and all its senders and receivers are dropped.
///
/// The program shows that it lives whenever it calls or waits in [`Sender`] and [`Receiver`]. If it does
/// neither for long, it has to call [`beat`](Self::beat).
#[derive(Debug)]
pub struct Member<L: Link + Clone>(Arc<Seat<L>>);

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
struct Vacancy {
    /// Who was there last.
    before: Owner,
    /// Whether that one has not left: it was started before on this peer, or is silent.
    claimed: bool,
}

impl<L: Link + Clone> Member<L> {
    /// Joins whichever of `slots` is free first, preferably one that nobody claims.
    pub(crate) fn join(
        link: &L,
        base: u64,
        plan: &Plan,
        slots: &[u32],
        vector: u32,
    ) -> Result<Self> {
        let seat = |slot: &u32| Seat::new(link.clone(), base, plan.clone(), *slot, vector);
        let mut seats = slots.iter().map(seat).collect::<Result<Vec<_>>>()?;
        let mut pulses = vec![None; seats.len()];
        let begin = Instant::now();
        loop {
            let looks = seats.iter().zip(&mut pulses).enumerate();
            let vacancies = looks.map(|(at, (seat, pulse))| Ok((at, seat.vacancy(pulse)?)));
            let vacancies: Vec<_> = vacancies.collect::<Result<_>>()?;
            let free = vacancies.into_iter().filter_map(|(at, v)| Some((at, v?)));
            if let Some((at, vacancy)) = free.min_by_key(|(_, vacancy)| vacancy.claimed) {
                match seats[at].claim(vacancy.before) {
                    // Somebody was faster.
                    Err(Error::SlotTaken(_)) => {}
                    claimed => return claimed.map(|()| Self(Arc::new(seats.swap_remove(at)))),
                }
            }
            if begin.elapsed() > 2 * plan.lost_after() {
                return Err(Error::SlotTaken(slots.last().copied().unwrap_or(0)));
            }
            std::thread::sleep(plan.heartbeat() / 4);
        }
    }

    /// Our slot.
    pub fn slot(&self) -> u32 {
        self.0.slot
    }

    /// Our number for this time.
    pub fn incarnation(&self) -> u32 {
        self.0.owner.incarnation
    }

    /// Shows that we live, if it is time to. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Reset`], [`Error::Replaced`], [`Error::Link`].
    pub fn beat(&self) -> Result<()> {
        self.0.check()?;
        self.0.beat()
    }

    /// Who is in slot `slot`. A program that has crashed is found lost only if this is called from time to
    /// time: what counts is how long its heartbeat was seen to stand still. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuch`], [`Error::Link`].
    pub fn presence(&self, slot: u32) -> Result<Presence> {
        let before = Instant::now();
        let Some(claim) = self.0.claim_of(slot)? else {
            return Ok(Presence::Absent);
        };
        let incarnation = claim.joined;
        let mut state = self.0.state();
        let pulse = &mut state.pulses[slot as usize];
        let silent = Pulse::watch(pulse, incarnation, claim.heartbeat, before);
        if silent >= self.0.plan.lost_after() {
            return Ok(Presence::Lost { incarnation });
        }
        Ok(Presence::Present {
            incarnation,
            peer_id: claim.peer_id,
        })
    }

    /// The sending end of the ring to slot `to`, whether that has other senders or not. Goes on where the last
    /// one was.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuch`] if the layout has no such ring; [`Error::InUse`], [`Error::Reset`],
    /// [`Error::Replaced`], [`Error::Link`].
    pub fn sender(&self, to: u32) -> Result<Sender<L>> {
        let end = End::take(&self.0, self.0.slot, to)?;
        Sender::new(end, to)
    }

    /// The receiving end of the ring from slot `from`. Begins with the oldest message that was not released.
    ///
    /// # Errors
    ///
    /// As [`sender`](Self::sender).
    pub fn receiver(&self, from: u32) -> Result<Receiver<L>> {
        let end = End::take(&self.0, from, self.0.slot)?;
        match end.place.doze {
            None => Receiver::new(end, from),
            Some(_) => Err(Error::NoSuch(format!(
                "ring from slot {from} alone: it is one from all, so use multi_receiver()"
            ))),
        }
    }

    /// The receiving end of the ring from all other slots. Begins, for each, with the oldest message that was
    /// not released.
    ///
    /// # Errors
    ///
    /// As [`sender`](Self::sender).
    pub fn multi_receiver(&self) -> Result<MultiReceiver<L>> {
        MultiReceiver::new(End::take_multi(&self.0)?)
    }
}

impl<L: Link> Seat<L> {
    fn new(link: L, base: u64, plan: Plan, slot: u32, vector: u32) -> Result<Self> {
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

    /// How our slot can be taken; `None` if somebody who lives has it. `pulse` is what was seen of it so far.
    fn vacancy(&self, pulse: &mut Option<Pulse>) -> Result<Option<Vacancy>> {
        self.check_generation()?;
        let began = Instant::now();
        let before = self.ours.owner(&self.link)?;
        if !before.is_of(self.plan.generation()) {
            let claimed = false;
            return Ok(Some(Vacancy { before, claimed }));
        }
        let words = self.ours.words(&self.link)?;
        // Not so while somebody joins: the words are still those of who was there before.
        let joined = words.joined == before.incarnation;
        let ours = joined && words.peer_id == self.link.peer_id() && words.vector != NO_VECTOR;
        let silent = Pulse::watch(pulse, before.incarnation, words.heartbeat, began);
        let free = ours || silent >= self.plan.lost_after();
        let claimed = true;
        Ok(free.then_some(Vacancy { before, claimed }))
    }

    /// Takes our slot from `before`. Of two who try at the same time one gets it, and the other fails.
    fn claim(&self, before: Owner) -> Result<()> {
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
    fn take(seat: &Arc<Seat<L>>, producer: u32, consumer: u32) -> Result<Self> {
        let found = seat.plan.find(seat.base, producer, consumer);
        let (index, place) = found.ok_or_else(|| {
            Error::NoSuch(format!("ring from slot {producer} to slot {consumer}"))
        })?;
        Self::new(seat, index, place)
    }

    fn take_multi(seat: &Arc<Seat<L>>) -> Result<Self> {
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
