// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The end of a ring that sends.

use std::sync::atomic::Ordering;

use ivshmem::Memory;

use super::count::{Counts, Cursor};
use super::quarantine::Quarantine;
use super::record::{record_len, Header};
use super::{control, lane, Fault, Owned, Place, Stretch, CONTROL, RECORD};

mod succession;

pub use succession::Handover;

/// The reach is raised by this part of the ring at a time, so that it costs little.
const REACH_PART: u32 = 8;

/// Room for a message, which nobody sees before it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Where it is.
    pub bytes: Stretch,
    /// Bytes.
    pub len: u32,
    start: Cursor,
}

/// The end of a ring that sends.
#[derive(Debug)]
pub struct Producer<M> {
    memory: M,
    place: Place,
    /// Those of the place; to make them takes a division.
    counts: Counts,
    /// Where the next record begins.
    next: Cursor,
    /// Where the first record is that was not published, and its header if there is one.
    first: Cursor,
    header: u64,
    /// Up to where the consumer was told of messages, at least.
    told: u32,
    /// Up to where we may write, and our epoch.
    reach: Owned,
    quarantine: Quarantine,
    /// What the consumer has released, as far as we know; 0 until it has come.
    head: u32,
    /// Whether the consumer has come in this generation. It does not go again.
    met: bool,
    broken: Option<Fault>,
}

impl<M: Memory> Producer<M> {
    /// The memory.
    #[inline]
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The longest message in bytes. It becomes less when a program is replaced that may still run.
    pub fn longest(&self) -> usize {
        let most = match self.quarantine.is_empty() {
            true => self.place.longest(),
            // To get around what is left out takes a record of its own, up to 8 bytes longer than this one, and both have
            // to fit into an empty ring. If this program too is replaced while it writes that, something has to be left of
            // the ring.
            false => (self.quarantine.longest_run(&self.place) / 2).saturating_sub(3 * RECORD),
        };
        most as usize
    }

    /// Finds room for a message of up to `len` bytes; `None` if the ring is too full now.
    ///
    /// # Errors
    ///
    /// [`Fault::TooLong`], [`Fault::Corrupt`], [`Fault::Replaced`].
    #[inline]
    pub fn reserve(&mut self, len: usize) -> Result<Option<Space>, Fault> {
        loop {
            let (skip, bytes) = self.step(len)?;
            if !self.has_room(bytes)? {
                return Ok(None);
            }
            self.raise(bytes)?;
            if !skip {
                let payload = self.counts.after(self.next, RECORD);
                return Ok(Some(Space {
                    bytes: Stretch {
                        data: self.place.offset + CONTROL,
                        size: self.place.size,
                        at: payload.at,
                    },
                    // CAST: Not above the longest message, by `step`.
                    len: len as u32,
                    start: self.next,
                }));
            }
            self.append(Header::Skip(bytes), bytes)?;
        }
    }

    /// The record to write next for a message of `len` bytes: whether it is one that leaves something out, and its
    /// length.
    #[inline]
    fn step(&self, len: usize) -> Result<(bool, u32), Fault> {
        if let Some(fault) = self.broken {
            return Err(fault);
        }
        if len > self.place.longest() as usize {
            return Err(self.too_long(len));
        }
        // CAST: Checked right above.
        let record = record_len(len as u32);
        match self.quarantine.is_empty() {
            true => Ok((false, record)),
            false => self.step_around(len, record),
        }
    }

    /// As [`step`](Self::step), where places are left out.
    #[cold]
    fn step_around(&self, len: usize, record: u32) -> Result<(bool, u32), Fault> {
        if len > self.longest() {
            return Err(self.too_long(len));
        }
        let mut skip = 0;
        let mut at = self.next.at;
        loop {
            let (ahead, out) = self.quarantine.next(&self.place, at);
            if record + 2 * RECORD <= ahead {
                return Ok(match skip {
                    0 => (false, record),
                    _ => (true, skip),
                });
            }
            skip += ahead + out;
            at = (self.next.at + skip) % self.place.size;
            // Behind what leaves something out has to be an empty header, and one for a successor.
            if skip > self.place.size - 2 * RECORD {
                return Err(self.too_long(len));
            }
        }
    }

    #[cold]
    fn too_long(&self, len: usize) -> Fault {
        let max = self.longest();
        Fault::TooLong { len, max }
    }

    /// Whether a record of `bytes` fits, with an empty header after it, and after that one for a successor.
    #[inline]
    fn has_room(&mut self, bytes: u32) -> Result<bool, Fault> {
        let need = bytes + 2 * RECORD;
        let used = self.counts.distance(self.head, self.next.count);
        if self.place.size - used >= need {
            return Ok(true);
        }
        self.refresh()?;
        let used = self.counts.distance(self.head, self.next.count);
        Ok(self.place.size - used >= need)
    }

    /// Says that a record of `bytes` and an empty header may be written to from now on, and more so as not to say it
    /// each time. There is room for it.
    #[inline]
    fn raise(&mut self, bytes: u32) -> Result<(), Fault> {
        let counts = self.counts;
        let need = bytes + RECORD;
        match need <= counts.distance(self.next.count, self.reach.count) {
            true => Ok(()),
            false => self.raise_to(bytes),
        }
    }

    #[cold]
    fn raise_to(&mut self, bytes: u32) -> Result<(), Fault> {
        let counts = self.counts;
        let end = counts.after(self.next, bytes);
        let used = counts.distance(self.head, end.count);
        let free = self.place.size - used;
        // A successor needs an empty header behind the reach, which is neither in use nor left out.
        let (ahead, _) = self.quarantine.next(&self.place, end.at);
        let part = (self.place.size / REACH_PART).next_multiple_of(RECORD);
        let more = part.min(free - RECORD).min(ahead - RECORD);
        self.set_reach(counts.add(end.count, more))
    }

    fn set_reach(&mut self, count: u32) -> Result<(), Fault> {
        let new = Owned {
            count,
            ..self.reach
        };
        let at = self.place.word(control::REACH);
        let (old, word) = (self.reach.to_word(), new.to_word());
        if self.memory.compare_exchange64(at, old, word)?.is_err() {
            return Err(self.fail(Fault::Replaced));
        }
        self.reach = new;
        Ok(())
    }

    #[cold]
    fn fail(&mut self, fault: Fault) -> Fault {
        self.broken = Some(fault);
        fault
    }

    /// Ends the message in `space`, the last one that was reserved, with its first `len` bytes. The consumer
    /// sees it after [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// [`Fault::TooLong`], [`Fault::Access`].
    #[inline]
    pub fn commit(&mut self, space: Space, len: usize) -> Result<(), Fault> {
        let max = space.len as usize;
        if len > max {
            return Err(Fault::TooLong { len, max });
        }
        debug_assert_eq!(space.start, self.next);
        // CAST: Not above what was reserved.
        let len = len as u32;
        self.append(Header::Message(len), record_len(len))
    }

    /// Writes a header. The first one that is not published is kept back: it is what publishes.
    #[inline]
    fn append(&mut self, header: Header, bytes: u32) -> Result<(), Fault> {
        let word = header.to_word(&self.place, self.next.count);
        match self.next == self.first {
            true => self.header = word,
            false => {
                let at = self.place.data(self.next);
                self.memory.store64(at, word, Ordering::Relaxed)?;
            }
        }
        self.next = self.counts.after(self.next, bytes);
        Ok(())
    }

    /// Shows the consumer all that was committed. Returns whether it has to be rung.
    ///
    /// # Errors
    ///
    /// [`Fault::Replaced`], after which nothing that was committed was shown; [`Fault::Access`].
    #[inline]
    pub fn publish(&mut self) -> Result<bool, Fault> {
        if self.first == self.next {
            return Ok(false);
        }
        if let Some(fault) = self.broken {
            return Err(fault);
        }
        // Here is no record yet.
        let end = self.place.data(self.next);
        self.memory.store64(end, 0, Ordering::Relaxed)?;
        let at = self.place.data(self.first);
        if self.memory.compare_exchange64(at, 0, self.header)?.is_err() {
            return Err(self.fail(Fault::Replaced));
        }
        let old = std::mem::replace(&mut self.told, self.next.count);
        self.first = self.next;
        // Either we see that the consumer wants to sleep, or it sees the header: see `Consumer::arm`.
        self.memory.fence_after_exchange();
        match self.place.lane {
            None => {
                let word = self.place.word(control::DATA_WAKE);
                let wake = self.memory.load32(word, Ordering::Relaxed)?;
                Ok(self.counts.passed(wake, old, self.next.count))
            }
            Some(lane) => lane::announce(&self.memory, lane),
        }
    }

    /// Asks to be rung when there is room for `len` bytes. Returns the word to sleep on, by its byte offset,
    /// and its value; `None` if there is room by now.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    pub fn arm(&mut self, len: usize) -> Result<Option<(u64, u32)>, Fault> {
        let (_, bytes) = self.step(len)?;
        let wake = self.counts.wake_for(self.next.count, bytes + 2 * RECORD);
        let word = self.place.word(control::SPACE_WAKE);
        self.memory.store32(word, wake, Ordering::Relaxed)?;
        self.memory.fence();
        if self.has_room(bytes)? {
            return Ok(None);
        }
        if self.met {
            return Ok(Some((self.place.word(control::HEAD), self.head)));
        }
        // What is in the head is of another generation, and says nothing.
        let word = self.place.word(control::HEAD_GENERATION);
        let value = self.memory.load32(word, Ordering::Acquire)?;
        Ok((value != self.place.generation).then_some((word, value)))
    }

    /// Looks again how much the consumer has released.
    fn refresh(&mut self) -> Result<(), Fault> {
        let head = self.load_head()?;
        let counts = self.counts;
        let back = counts.distance(self.head, self.next.count);
        let good = counts.cursor(head).is_some() && counts.distance(head, self.next.count) <= back;
        if !good {
            return Err(self.fail(Fault::Corrupt("the receiver's head is impossible")));
        }
        self.head = head;
        Ok(())
    }

    fn load_head(&mut self) -> Result<u32, Fault> {
        if !self.met {
            let word = self.place.word(control::HEAD_GENERATION);
            let generation = self.memory.load32(word, Ordering::Acquire)?;
            if generation != self.place.generation {
                return Ok(0);
            }
            self.met = true;
        }
        let word = self.place.word(control::HEAD);
        let word = self.memory.load64(word, Ordering::Acquire)?;
        Ok(Owned::of_word(word).count)
    }
}
