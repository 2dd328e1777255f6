// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Makes channels, and finds those that are there.

use std::thread::sleep;
use std::time::{Duration, Instant};

use ivshmem::Link;

use crate::join::Joining;
use crate::layout::{Invalid, Stage};
use crate::making::{self, Making};
use crate::random::random;
use crate::{Error, Layout, Member, Observer, Plan, Result};

/// How long another program may take to make a channel, and half of how long to try it while others do.
const CONTENTION: Duration = Duration::from_secs(2);
/// How often in a row a channel may be recreated while a program joins it: programs that start together need a few.
const MOST_RESETS: u32 = 64;
/// Pauses between tries are shorter than this many milliseconds.
const LONGEST_PAUSE_MS: u32 = 20;

/// A channel that was made or found. Joining is what makes use of it.
///
/// `L` is cloned for each handle: an `Arc` of an endpoint or peer, or a reference.
#[derive(Clone, Debug)]
pub struct Channel<L> {
    link: L,
    base: u64,
    plan: Plan,
}

impl<L: Link + Clone> Channel<L> {
    /// Makes a channel at byte `base` of the memory, a multiple of 4096, whatever was there before. Programs
    /// that use what was there get [`Error::Reset`]. Waits for another program that is making one; for one that stands still
    /// meanwhile, or has died, for two seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`], [`Error::NotWriteBack`], [`Error::Link`]; [`Error::NotAChannel`] if others make one there all the
    /// time.
    pub fn create(link: L, base: u64, layout: &Layout) -> Result<Self> {
        let begin = Instant::now();
        let mut maker = Maker::default();
        loop {
            let seen = making::stage(&link, base)?;
            if !maker.is_at_work(seen) {
                if let Some(plan) = making::make(&link, base, layout, seen, Making::Anew)? {
                    return Ok(Self { link, base, plan });
                }
            }
            pause(begin, Invalid::Unfinished.into())?;
        }
    }

    /// Finds the channel at byte `base` of the memory.
    ///
    /// # Errors
    ///
    /// [`Error::NotAChannel`], [`Error::Link`].
    pub fn open(link: L, base: u64) -> Result<Self> {
        let plan = making::find(&link, base)?;
        Ok(Self { link, base, plan })
    }

    /// Finds the channel at `base`, or makes it if there is none that can be used. Programs that do this at the same time
    /// make one together; one that stands still for seconds while it makes it is not waited for, and the others may
    /// get [`Error::Reset`] when it goes on.
    ///
    /// # Errors
    ///
    /// [`Error::OtherLayout`] if there is one with another layout; those of [`create`](Self::create);
    /// [`Error::NotAChannel`] if somebody else writes there all the time.
    pub fn open_or_create(link: L, base: u64, layout: &Layout) -> Result<Self> {
        let begin = Instant::now();
        let mut maker = Maker::default();
        loop {
            let seen = making::stage(&link, base)?;
            let why = match Self::open(link.clone(), base) {
                Ok(channel) if channel.plan.layout() == layout => return Ok(channel),
                Ok(_) => return Err(Error::OtherLayout),
                Err(why @ Error::NotAChannel(_)) => why,
                Err(other) => return Err(other),
            };
            if !maker.is_at_work(seen) {
                let making = Making::IfThereIsNone;
                if let Some(plan) = making::make(&link, base, layout, seen, making)? {
                    return Ok(Self { link, base, plan });
                }
            }
            pause(begin, why)?;
        }
    }

    /// Finds the channel or makes it, and joins by `join`; both again if another program recreated it meanwhile. How
    /// programs begin that may come in any order:
    ///
    /// ```no_run
    /// # fn main() -> Result<(), ivshmem_channel::Error> {
    /// # use ivshmem::Endpoint;
    /// # use ivshmem_channel::{Channel, Layout};
    /// # let link = Endpoint::open("/dev/ivshmem0")?;
    /// let layout = Layout::duplex(1 << 16);
    /// let me = Channel::create_or_join(&link, 0, &layout, |channel| channel.join(0, 0))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`open_or_create`](Self::open_or_create) and of `join`; [`Error::Reset`] if others recreate it again and
    /// again.
    pub fn create_or_join<T>(
        link: L,
        base: u64,
        layout: &Layout,
        mut join: impl FnMut(&Self) -> Result<T>,
    ) -> Result<T> {
        for _ in 0..MOST_RESETS {
            let channel = Self::open_or_create(link.clone(), base, layout)?;
            match join(&channel) {
                Err(Error::Reset) => {}
                joined => return joined,
            }
        }
        Err(Error::Reset)
    }

    /// Recreates the channel, with the same layout: all messages are gone, and all who use it get
    /// [`Error::Reset`] and have to join again. What to do after [`Error::Corrupt`]. Waits as [`create`](Self::create) does.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn reset(&self) -> Result<Self> {
        Self::create(self.link.clone(), self.base, self.plan.layout())
    }

    /// What was found.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Takes part as slot `slot`, and is rung by vector `vector` of the link.
    ///
    /// If the slot is another program's that has not left, what happens depends on what is known of that one:
    ///
    /// * It ran on this machine and has ended: the slot is taken at once. On the host and in guests the kernel knows,
    ///   by a [lock](ivshmem::Locking).
    /// * Anything else: this blocks until that program has been silent for as long as the layout says, and takes the
    ///   slot then. It may still run, or go on later: it gets [`Error::Replaced`], and cannot touch what this program
    ///   sends. The part of each ring buffer that it was writing to is left out until the channel is recreated.
    /// * It shows that it lives: [`Error::SlotTaken`], after the time that [`Joining::timeout`] has if nothing is said.
    ///
    /// # Errors
    ///
    /// [`Error::SlotTaken`], [`Error::NoSuch`], [`Error::Reset`], [`Error::NotWriteBack`], [`Error::Corrupt`] if a ring buffer
    /// of the slot is; [`Error::Link`], also if the link has no such vector.
    pub fn join(&self, slot: u32, vector: u32) -> Result<Member<L>> {
        self.joining().join(slot, vector)
    }

    /// As [`join`](Self::join), in whichever of `slots` is free first: for programs that are all alike.
    ///
    /// One that nobody claims is preferred, then one whose program has ended, so that two programs of one machine get
    /// different ones. If all belong to programs that live, it is [`Error::SlotTaken`].
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn join_any(&self, slots: &[u32], vector: u32) -> Result<Member<L>> {
        self.joining().join_any(slots, vector)
    }

    /// Tells who has joined, without joining.
    pub fn observe(&self) -> Observer<L> {
        Observer::new(self.link.clone(), self.base, self.plan.clone())
    }

    /// Joins with a time limit of one's own, or so that it can be cancelled.
    pub fn joining(&self) -> Joining<'_, L> {
        Joining::new(&self.link, self.base, &self.plan)
    }
}

/// Another program that makes a channel: the mark that was seen of it, and since when.
#[derive(Default)]
struct Maker(Option<(Stage, Instant)>);

impl Maker {
    /// Whether it may go on: one that has stood still for long may have died.
    fn is_at_work(&mut self, seen: Stage) -> bool {
        let since = match self.0 {
            Some((stage, since)) if stage == seen => since,
            _ => self.0.insert((seen, Instant::now())).1,
        };
        seen.is_marked() && since.elapsed() < CONTENTION
    }
}

/// Leaves the others some time for what they do; `why` if that has been enough.
fn pause(begin: Instant, why: Error) -> Result<()> {
    if begin.elapsed() >= 2 * CONTENTION {
        return Err(why);
    }
    // By chance, one will be first.
    let pause = u64::from(random()? % LONGEST_PAUSE_MS);
    sleep(Duration::from_millis(pause));
    Ok(())
}
