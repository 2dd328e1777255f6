// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Makes channels, and finds those that are there.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ivshmem::{Link, Memory};

use crate::join::Joining;
use crate::layout::{header, Invalid, BASE_ALIGN, HEADER_LEN};
use crate::random::random;
use crate::{Error, Layout, Member, Plan, Result};

/// How long to try to make a channel while others do.
const CONTENTION: Duration = Duration::from_secs(2);
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
    /// that use what was there get [`Error::Reset`].
    ///
    /// # Errors
    ///
    /// [`Error::Layout`], [`Error::Link`].
    pub fn create(link: L, base: u64, layout: &Layout) -> Result<Self> {
        let available = available(&link, base)?;
        let generation = random()?;
        let bytes = layout
            .encode(generation, available)
            .map_err(Error::Layout)?;
        let word = base + header::GENERATION as u64;
        // Nobody takes it for made before all of it is there.
        link.store32(word, 0, Ordering::SeqCst)?;
        link.fence();
        let (before, rest) = bytes.split_at(header::GENERATION);
        link.write(base, before)?;
        let after = &rest[size_of::<u32>()..];
        link.write(word + size_of::<u32>() as u64, after)?;
        link.store32(word, generation, Ordering::Release)?;
        Self::open(link, base)
    }

    /// Finds the channel at byte `base` of the memory.
    ///
    /// # Errors
    ///
    /// [`Error::NotAChannel`], [`Error::Link`].
    pub fn open(link: L, base: u64) -> Result<Self> {
        let available = available(&link, base)?;
        let mut head = [0; HEADER_LEN];
        link.load32(base + header::GENERATION as u64, Ordering::Acquire)?;
        link.read(base, &mut head)?;
        let mut bytes = vec![0; Plan::table_len(&head)?];
        if bytes.len() as u64 > available {
            return Err(Invalid::TooLarge {
                needed: bytes.len() as u64,
                available,
            }
            .into());
        }
        // Once more, and whole: what is checked is what is used.
        link.read(base, &mut bytes)?;
        let plan = Plan::decode(&bytes, available)?;
        Ok(Self { link, base, plan })
    }

    /// Finds the channel at `base`, or makes it if there is none that can be used. If two programs do this at
    /// the same time, one of them may get [`Error::Reset`] afterwards, and succeeds when it tries again.
    ///
    /// # Errors
    ///
    /// [`Error::OtherLayout`] if there is one with another layout; those of [`create`](Self::create);
    /// [`Error::NotAChannel`] if somebody else writes there all the time.
    pub fn open_or_create(link: L, base: u64, layout: &Layout) -> Result<Self> {
        let begin = Instant::now();
        loop {
            let found = match Self::open(link.clone(), base) {
                Ok(channel) if channel.plan.layout() == layout => Ok(channel),
                Ok(_) => Err(Error::OtherLayout),
                Err(Error::NotAChannel(_)) => Self::create(link.clone(), base, layout),
                Err(other) => Err(other),
            };
            match found {
                // Somebody makes it too, and the two writings are mixed up. By chance, one will be first.
                Err(Error::NotAChannel(_)) if begin.elapsed() < CONTENTION => {
                    let pause = u64::from(random()? % LONGEST_PAUSE_MS);
                    sleep(Duration::from_millis(pause));
                }
                found => return found,
            }
        }
    }

    /// Finds the channel or makes it, and joins by `join`; again if another program made it at the same time. How programs
    /// begin that may come in any order:
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
    /// Those of [`open_or_create`](Self::open_or_create) and of `join`; never [`Error::Reset`].
    pub fn create_or_join<T>(
        link: L,
        base: u64,
        layout: &Layout,
        mut join: impl FnMut(&Self) -> Result<T>,
    ) -> Result<T> {
        loop {
            let channel = Self::open_or_create(link.clone(), base, layout)?;
            match join(&channel) {
                Err(Error::Reset) => {}
                joined => return joined,
            }
        }
    }

    /// Makes the channel anew, with the same layout: all messages are gone, and all who use it get
    /// [`Error::Reset`] and have to join again. What to do after [`Error::Corrupt`].
    ///
    /// # Errors
    ///
    /// [`Error::Link`].
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
    ///   sends. The part of each ring that it was writing to is left out until the channel is made anew.
    /// * It shows that it lives: [`Error::SlotTaken`], after twice the time of the layout.
    ///
    /// # Errors
    ///
    /// [`Error::SlotTaken`], [`Error::NoSuch`], [`Error::Reset`], [`Error::NotWriteBack`], [`Error::Corrupt`] if a ring
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

    /// Joins with a time limit of one's own, or so that it can be cancelled.
    pub fn joining(&self) -> Joining<'_, L> {
        Joining::new(&self.link, self.base, &self.plan)
    }
}

/// Bytes of the memory from `base` on.
fn available(memory: &impl Memory, base: u64) -> Result<u64> {
    let size = memory.size();
    if base % BASE_ALIGN != 0 || base.saturating_add(HEADER_LEN as u64) > size {
        let text = format!(
            "a channel cannot begin at byte {base}: take a multiple of {BASE_ALIGN} inside of the {size} bytes"
        );
        return Err(ivshmem::Error::Argument(text).into());
    }
    Ok(size - base)
}
