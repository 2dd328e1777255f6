// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The end of a ring that receives.

use std::sync::atomic::Ordering;

use ivshmem::Memory;

use super::count::{Counts, Cursor};
use super::record::Header;
use super::{control, take_over, Fault, Owned, Place, Stretch, CONTROL, NEVER, RECORD};

/// Records that leave something out, at one look: so that no sender can keep a receiver busy for ever.
const MOST_SKIPS: u32 = 16;

/// A message that has arrived. Its length was checked; its bytes can still be changed by a sender that does
/// not keep to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it is.
    pub bytes: Stretch,
    /// Bytes.
    pub len: u32,
    /// Where the next record begins.
    end: Cursor,
}

/// The end of a ring that receives.
#[derive(Debug)]
pub struct Consumer<M> {
    memory: M,
    place: Place,
    /// Those of the place; to make them takes a division.
    counts: Counts,
    /// Where the next record begins.
    next: Cursor,
    /// What the producer has been told, and our epoch.
    released: Owned,
    /// Whether the producer has come in this generation. It does not go again.
    met: bool,
    broken: Option<Fault>,
}

impl<M: Memory> Consumer<M> {
    /// Takes over the receiving end: goes on after the last message that was released in this generation,
    /// or begins. `may` says whether this program is still the one whose end it is, and is asked before each step.
    ///
    /// # Errors
    ///
    /// [`Fault::Corrupt`], [`Fault::Access`], and those of `may`.
    pub fn attach(
        memory: M,
        place: Place,
        may: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<Self, Fault> {
        // Nobody releases any more in the place of whom we replace, once this is done: look at all else after it.
        let head = place.word(control::HEAD);
        let mut released = take_over(&memory, head, may)?;
        let word = place.word(control::HEAD_GENERATION);
        let before = memory.load32(word, Ordering::Acquire)?;
        if before != place.generation {
            let wake = place.word(control::DATA_WAKE);
            memory.store32(wake, NEVER, Ordering::Relaxed)?;
            let old = released.to_word();
            released.count = 0;
            let set = memory.compare_exchange64(head, old, released.to_word())?;
            set.map_err(|_| Fault::Replaced)?;
            // The producer believes the head from here on.
            match memory.compare_exchange32(word, before, place.generation)? {
                // Whom we replaced can have come as far as this, and no further.
                Err(other) if other != place.generation => return Err(Fault::Replaced),
                _ => {}
            }
        }
        let counts = place.counts();
        let next = counts.cursor(released.count);
        Ok(Self {
            memory,
            place,
            counts,
            next: next.ok_or(Fault::Corrupt("the receiver's head is impossible"))?,
            released,
            met: false,
            broken: None,
        })
    }

    /// An end that was found to be corrupt when it was taken over, and that stays so.
    pub(super) fn broken(memory: M, place: Place, fault: Fault) -> Self {
        let nowhere = Cursor { count: 0, at: 0 };
        Self {
            memory,
            place,
            counts: place.counts(),
            next: nowhere,
            // Nothing is released that was not advanced over.
            released: Owned { count: 0, epoch: 0 },
            met: false,
            broken: Some(fault),
        }
    }

    /// The memory.
    #[inline]
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Finds the next message; `None` if none has arrived. The same again until
    /// [`advance`](Self::advance) was called.
    ///
    /// # Errors
    ///
    /// [`Fault::Corrupt`].
    #[inline]
    pub fn peek(&mut self) -> Result<Option<Record>, Fault> {
        if let Some(fault) = self.broken {
            return Err(fault);
        }
        if !self.met && !self.meet()? {
            return Ok(None);
        }
        for _ in 0..MOST_SKIPS {
            let at = self.place.data(self.next);
            let word = match self.memory.load64(at, Ordering::Acquire)? {
                0 => return Ok(None),
                word => word,
            };
            if let Some(record) = self.record(word)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// As [`peek`](Self::peek), unless somebody else has this end: then it gives nothing any more.
    #[inline]
    pub(super) fn peek_own(&mut self) -> Result<Option<Record>, Fault> {
        let found = self.peek()?;
        match found.map(|_| self.confirm()) {
            Some(Err(fault)) => {
                self.broken = Some(fault);
                Err(fault)
            }
            _ => Ok(found),
        }
    }

    #[cold]
    fn meet(&mut self) -> Result<bool, Fault> {
        let word = self.place.word(control::ORIGIN);
        let generation = self.memory.load32(word, Ordering::Acquire)?;
        self.met = generation == self.place.generation;
        Ok(self.met)
    }

    /// The record whose header is `word`, of which everything is checked here; `None` if it left something out, which
    /// it has done then.
    #[inline]
    fn record(&mut self, word: u64) -> Result<Option<Record>, Fault> {
        let counts = self.counts;
        let parsed = Header::of_word(word, &self.place, self.next.count)
            .and_then(|header| Ok((header, header.record_len(&self.place)?)));
        let (header, bytes) = match parsed {
            Ok(parsed) => parsed,
            Err(what) => return Err(self.corrupt(what)),
        };
        // Behind it is an empty header at least.
        if bytes > self.place.size - RECORD - self.unreleased() {
            return Err(self.corrupt("there are more messages than can be"));
        }
        let end = counts.after(self.next, bytes);
        let Header::Message(len) = header else {
            self.next = end;
            return Ok(None);
        };
        Ok(Some(Record {
            bytes: Stretch {
                data: self.place.offset + CONTROL,
                size: self.place.size,
                at: counts.after(self.next, RECORD).at,
            },
            len,
            end,
        }))
    }

    #[cold]
    fn corrupt(&mut self, what: &'static str) -> Fault {
        let fault = Fault::Corrupt(what);
        self.broken = Some(fault);
        fault
    }

    /// Whether the ring was found to be corrupt.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Whether this end was found to be taken over: no room can be given back any more.
    pub fn is_replaced(&self) -> bool {
        self.broken == Some(Fault::Replaced)
    }

    /// Goes on after `record`, which [`peek`](Self::peek) returned last.
    #[inline]
    pub fn advance(&mut self, record: Record) {
        self.next = record.end;
    }

    /// Whether no message has arrived after the last one that was advanced over. What is found to be corrupt is for the next
    /// [`peek`](Self::peek) to say.
    #[inline]
    pub fn has_received_all(&mut self) -> bool {
        match self
            .memory
            .load64(self.place.data(self.next), Ordering::Acquire)
        {
            Ok(0) => true,
            Ok(word) if Header::is_message(word) => false,
            _ => matches!(self.peek(), Ok(None)),
        }
    }

    /// Bytes that were advanced over and not released.
    #[inline]
    pub fn unreleased(&self) -> u32 {
        let counts = self.counts;
        counts.distance(self.released.count, self.next.count)
    }

    /// The count of what was advanced over.
    pub(super) fn position(&self) -> u32 {
        self.next.count
    }

    /// Bytes that were advanced over since then.
    pub(super) fn received_since(&self, position: u32) -> u32 {
        self.counts.distance(position, self.next.count)
    }

    /// The size of the ring's data in bytes.
    #[inline]
    pub fn size(&self) -> u32 {
        self.place.size
    }

    /// Whether nobody had taken over this end when all that was read before was read: if not, the room may have been
    /// given back meanwhile, and what was read may be a mixture.
    ///
    /// # Errors
    ///
    /// [`Fault::Replaced`], [`Fault::Access`].
    #[inline]
    pub fn confirm(&self) -> Result<(), Fault> {
        // What was read before comes before the look.
        self.memory.fence_loads();
        let head = self.place.word(control::HEAD);
        match self.memory.load64(head, Ordering::Acquire)? == self.released.to_word() {
            true => Ok(()),
            false => Err(Fault::Replaced),
        }
    }

    /// Gives the producer the room of what was advanced over. Returns whether it has to be rung.
    ///
    /// # Errors
    ///
    /// [`Fault::Replaced`], [`Fault::Access`].
    #[inline]
    pub fn release(&mut self) -> Result<bool, Fault> {
        if self.released.count == self.next.count {
            return Ok(false);
        }
        if self.is_replaced() {
            return Err(Fault::Replaced);
        }
        let new = Owned {
            count: self.next.count,
            ..self.released
        };
        let head = self.place.word(control::HEAD);
        let (old, word) = (self.released.to_word(), new.to_word());
        if self.memory.compare_exchange64(head, old, word)?.is_err() {
            self.broken = Some(Fault::Replaced);
            return Err(Fault::Replaced);
        }
        let old = std::mem::replace(&mut self.released, new);
        // Either we see that the producer wants to sleep, or it sees the new head: see `Producer::arm`.
        self.memory.fence_after_exchange();
        let word = self.place.word(control::SPACE_WAKE);
        let wake = self.memory.load32(word, Ordering::Relaxed)?;
        let counts = self.counts;
        Ok(counts.passed(wake, old.count, new.count))
    }

    /// Asks to be rung when there is a message. Returns the word to sleep on, by its byte offset, and its
    /// value; `None` if there is a message by now.
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek).
    pub fn arm(&mut self) -> Result<Option<(u64, u32)>, Fault> {
        // Before the look, which may go over places that are left out: from there on it has passed all the same.
        let word = self.place.word(control::DATA_WAKE);
        self.memory
            .store32(word, self.next.count, Ordering::Relaxed)?;
        self.memory.fence();
        let armed = self.next;
        if self.peek()?.is_some() {
            return Ok(None);
        }
        if !self.met {
            // What is in the data is of another generation, and is no reason to wake.
            let word = self.place.word(control::ORIGIN);
            let value = self.memory.load32(word, Ordering::Acquire)?;
            return Ok((value != self.place.generation).then_some((word, value)));
        }
        // The lower half of a header is not 0.
        Ok((armed == self.next).then_some((self.place.data(self.next), 0)))
    }
}
