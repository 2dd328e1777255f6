// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How a program gets a slot.

use std::time::{Duration, Instant};

use ivshmem::{Link, Lock, Locking};

use crate::cancel::{nap, Cancel};
use crate::presence::{Look, Pulse};
use crate::random::random;
use crate::ring::{Fault, Handover, Producer};
use crate::seat::{check_generation, place_of, Claim, Seat, NO_VECTOR};
use crate::slot::{bound, Owner, Slot};
use crate::topic::Writer;
use crate::{Error, Member, Plan, Result};

/// How long to wait for a slot if nothing else is said, at least and at most: what the header says of times is another
/// program's word.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// Looks after which a slot is taken whose lock somebody has, though nobody has joined: it may be about to.
const POLITE: u32 = 5;

/// How to join a channel: [`Channel::joining`](crate::Channel::joining).
#[derive(Clone, Debug)]
#[must_use]
pub struct Joining<'a, L> {
    link: &'a L,
    base: u64,
    plan: &'a Plan,
    timeout: Duration,
    cancel: Option<&'a Cancel>,
}

impl<'a, L: Link + Clone> Joining<'a, L> {
    pub(crate) fn new(link: &'a L, base: u64, plan: &'a Plan) -> Self {
        let [least, most] = WAITS;
        let timeout = (2 * plan.lost_after()).clamp(least, most);
        Self {
            link,
            base,
            plan,
            timeout,
            cancel: None,
        }
    }

    /// How long to wait for a slot that is taken. Zero only looks. Default: twice the time after which a silent program
    /// is lost, at least a second, and at most a minute.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Lets another thread end the waiting.
    pub fn cancel(mut self, cancel: &'a Cancel) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// Takes part as slot `slot`; see [`Channel::join`](crate::Channel::join).
    ///
    /// # Errors
    ///
    /// As [`Channel::join`](crate::Channel::join), and [`Error::Cancelled`].
    pub fn join(&self, slot: u32, vector: u32) -> Result<Member<L>> {
        self.join_any(&[slot], vector)
    }

    /// Takes part as whichever of `slots` is free first; see [`Channel::join_any`](crate::Channel::join_any).
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join); [`Error::Link`] also if there are no `slots`.
    pub fn join_any(&self, slots: &[u32], vector: u32) -> Result<Member<L>> {
        let Self {
            link, base, plan, ..
        } = *self;
        if slots.is_empty() {
            let text = "no slot is given: give at least one".into();
            return Err(ivshmem::Error::Argument(text).into());
        }
        if !link.can_exchange() {
            return Err(Error::NotWriteBack);
        }
        let vector = check_vector(link, vector)?;
        let begin = Instant::now();
        let new = |slot: &u32| Candidate::new(link, base, plan, *slot);
        let mut candidates = slots.iter().map(new).collect::<Result<Vec<_>>>()?;
        loop {
            let mut best: Option<(usize, Vacancy)> = None;
            for (at, candidate) in candidates.iter_mut().enumerate() {
                let Some(vacancy) = candidate.look()? else {
                    continue;
                };
                if best
                    .as_ref()
                    .is_none_or(|(_, best)| vacancy.rank < best.rank)
                {
                    best = Some((at, vacancy));
                }
            }
            if let Some((at, vacancy)) = best {
                if let Some(seat) = candidates[at].claim(vacancy, vector)? {
                    return Ok(Member::of(seat));
                }
            }
            let left = self.timeout.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Err(Error::SlotTaken(slots[slots.len() - 1]));
            }
            nap(left.min(plan.heartbeat() / 4), self.cancel)?;
        }
    }
}

/// The vector by which the link is rung, as others are told.
fn check_vector(link: &impl Link, vector: u32) -> Result<u32> {
    match link.vectors() {
        0 => Ok(NO_VECTOR),
        vectors if vector < vectors => Ok(vector),
        vectors => {
            let text = format!("this end has no vector {vector}: take one below {vectors}");
            Err(ivshmem::Error::Argument(text).into())
        }
    }
}

/// A slot that can be taken.
struct Vacancy {
    /// Who was there last.
    before: Owner,
    handover: Handover,
    lock: Option<Lock>,
    /// What is better to take is less: nobody's; somebody's who has ended; somebody's who is silent.
    rank: u32,
}

/// A slot that may become ours.
struct Candidate<'a, L> {
    link: &'a L,
    base: u64,
    plan: &'a Plan,
    slot: u32,
    ours: Slot,
    pulse: Option<Pulse>,
    looks: u32,
}

impl<'a, L: Link + Clone> Candidate<'a, L> {
    fn new(link: &'a L, base: u64, plan: &'a Plan, slot: u32) -> Result<Self> {
        Ok(Self {
            link,
            base,
            plan,
            slot,
            ours: place_of(plan, base, slot)?,
            pulse: None,
            looks: 0,
        })
    }

    /// How the slot can be taken; `None` if somebody who lives has it.
    fn look(&mut self) -> Result<Option<Vacancy>> {
        check_generation(self.link, self.base, self.plan)?;
        self.looks += 1;
        let began = Instant::now();
        let before = self.ours.owner(self.link)?;
        let locking = self.link.lock(self.ours.offset());
        if !before.is_of(self.plan.generation()) {
            let taken = matches!(locking, Locking::Taken);
            return Ok((!taken || self.looks > POLITE).then(|| Vacancy {
                before,
                handover: Handover::Ended,
                lock: held(locking),
                rank: 0,
            }));
        }
        let words = self.ours.words(self.link)?;
        // Not so while somebody joins: the words are still those of who was there before.
        let joined = words.joined == before.incarnation;
        let lock = held(locking);
        let domain = lock.as_ref().map(Lock::domain);
        let domain = domain.map(|domain| bound(domain, before.incarnation));
        // It would have the lock that we got.
        let ended = joined && words.domain != 0 && domain == Some(words.domain);
        let machine = lock.as_ref().map_or(0, Lock::machine);
        // Another start of the same machine: it has this peer ID now. Without vectors it is nobody's number: on
        // `ivshmem-plain` all have the same.
        let restarted = joined
            && self.link.vectors() > 0
            && words.peer_id == self.link.peer_id()
            && machine != 0
            && words.machine != 0
            && machine != words.machine
            && self.ours.is_proven(self.link, &words)?;
        let look = Look {
            seen: (before.incarnation, words.heartbeat),
            peer_id: words.peer_id,
            began,
            ended: Instant::now(),
        };
        let silent = look.watch(&mut self.pulse, self.plan.heartbeat());
        if !ended && silent < self.plan.lost_after() {
            return Ok(None);
        }
        Ok(Some(Vacancy {
            before,
            handover: match ended || restarted {
                true => Handover::Ended,
                false => Handover::MayRun,
            },
            lock,
            rank: if ended { 1 } else { 2 },
        }))
    }

    /// Takes the slot; `None` if somebody else was faster.
    fn claim(&self, vacancy: Vacancy, vector: u32) -> Result<Option<Seat<L>>> {
        let owner = Owner {
            generation: self.plan.generation(),
            incarnation: random()?,
        };
        if !self.ours.replace(self.link, vacancy.before, owner)? {
            return Ok(None);
        }
        if vacancy.handover == Handover::MayRun {
            self.take_rings(owner)?;
        }
        // From here on it is known that nobody before us writes into our rings.
        Seat::new(Claim {
            link: self.link.clone(),
            base: self.base,
            plan: self.plan.clone(),
            slot: self.slot,
            ours: self.ours,
            owner,
            vector,
            lock: vacancy.lock,
        })
        .map(Some)
    }

    /// Takes over the sending ends of all our rings and topics from a program that may go on, before anybody believes that we
    /// have joined.
    fn take_rings(&self, owner: Owner) -> Result<()> {
        let mut may = || {
            let same = self.ours.owner(self.link)? == owner;
            let same = same && check_generation(self.link, self.base, self.plan).is_ok();
            same.then_some(()).ok_or(Fault::Replaced)
        };
        for place in self.plan.lanes_of(self.base, self.slot) {
            let taken = Producer::attach(self.link, place, Handover::MayRun, &mut may);
            taken.map_err(|fault| self.explain(fault))?;
        }
        for topic in self.plan.topics_of(self.base, self.slot) {
            let taken = Writer::attach(self.link, topic, Handover::MayRun, &mut may);
            taken.map_err(|fault| self.explain(fault))?;
        }
        Ok(())
    }

    /// What a fault means of a ring buffer or topic that was to be taken over.
    fn explain(&self, fault: Fault) -> Error {
        let same = check_generation(self.link, self.base, self.plan);
        match (fault, same) {
            // What is there is another channel's.
            (Fault::Replaced | Fault::Corrupt(_), Err(error)) => error,
            (Fault::Replaced, Ok(())) => Error::Replaced,
            (other, _) => other.into(),
        }
    }
}

fn held(locking: Locking) -> Option<Lock> {
    match locking {
        Locking::Held(lock) => Some(lock),
        _ => None,
    }
}
