// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The end of a ring that receives.

use std::sync::atomic::Ordering;

use ivshmem::Memory;

use super::{control, passed, record_len, Fault, Place, NEVER, PADDING, RECORD};

/// A message that has arrived. Its length was checked; its bytes can still be changed by a sender that does
/// not keep to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Byte offset in the memory.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
    /// The running number of the first byte after it.
    end: u32,
}

/// The end of a ring that receives.
#[derive(Debug)]
pub struct Consumer<M> {
    memory: M,
    place: Place,
    /// The running number of the next byte to read.
    next: u32,
    /// What the producer has been told.
    released: u32,
    /// What the producer has published, as far as we know; equal to `next` until it has come.
    tail: u32,
    /// Whether the producer has come in this generation. It does not go again.
    met: bool,
    broken: Option<&'static str>,
}

impl<M: Memory> Consumer<M> {
    /// Takes over the receiving end: goes on after the last message that was released in this generation,
    /// or begins.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`].
    pub fn attach(memory: M, place: Place) -> Result<Self, Fault> {
        let generation = memory.load32(place.word(control::HEAD_GENERATION), Ordering::Acquire)?;
        let mut head = 0;
        if generation == place.generation {
            head = memory.load32(place.word(control::HEAD), Ordering::Relaxed)?;
        } else {
            memory.store32(place.word(control::HEAD), 0, Ordering::Relaxed)?;
            memory.store32(place.word(control::DATA_WAKE), NEVER, Ordering::Relaxed)?;
            // The producer believes the head from here on.
            let word = place.word(control::HEAD_GENERATION);
            memory.store32(word, place.generation, Ordering::Release)?;
        }
        Ok(Self {
            memory,
            place,
            next: head,
            released: head,
            tail: head,
            met: false,
            broken: None,
        })
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Finds the next message; `None` if none has arrived. The same again until
    /// [`advance`](Self::advance) was called.
    ///
    /// # Errors
    ///
    /// [`Fault::Corrupt`].
    pub fn peek(&mut self) -> Result<Option<Record>, Fault> {
        if let Some(what) = self.broken {
            return Err(Fault::Corrupt(what));
        }
        if !self.has_more() {
            self.refresh()?;
        }
        self.record().inspect_err(|fault| {
            if let Fault::Corrupt(what) = fault {
                self.broken = Some(what);
            }
        })
    }

    /// Whether there is a message by what was seen last.
    pub(super) fn has_more(&self) -> bool {
        self.next != self.tail
    }

    /// Whether the ring was found to be corrupt.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Goes on after `record`, which [`peek`](Self::peek) returned last.
    pub fn advance(&mut self, record: Record) {
        self.next = record.end;
    }

    /// Bytes that were advanced over and not released.
    pub fn unreleased(&self) -> u32 {
        self.next.wrapping_sub(self.released)
    }

    /// The size of the ring's data in bytes.
    pub fn size(&self) -> u32 {
        self.place.size
    }

    /// Gives the producer the room of what was advanced over. Returns whether it has to be rung.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`].
    pub fn release(&mut self) -> Result<bool, Fault> {
        if self.released == self.next {
            return Ok(false);
        }
        let word = self.place.word(control::HEAD);
        self.memory.store32(word, self.next, Ordering::Release)?;
        let old = std::mem::replace(&mut self.released, self.next);
        // Either we see that the producer wants to sleep, or it sees the new head: see `Producer::arm`.
        self.memory.fence();
        let word = self.place.word(control::SPACE_WAKE);
        let wake = self.memory.load32(word, Ordering::Relaxed)?;
        Ok(passed(wake, old, self.next))
    }

    /// Asks to be rung when there is a message. Returns the word to sleep on, by its byte offset, and its
    /// value; `None` if there is a message by now.
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek).
    pub fn arm(&mut self) -> Result<Option<(u64, u32)>, Fault> {
        let word = self.place.word(control::DATA_WAKE);
        self.memory.store32(word, self.next, Ordering::Relaxed)?;
        self.memory.fence();
        if self.peek()?.is_some() {
            return Ok(None);
        }
        Ok(Some((self.place.word(control::TAIL), self.next)))
    }

    /// Looks again how much the producer has published.
    fn refresh(&mut self) -> Result<(), Fault> {
        if !self.met {
            let word = self.place.word(control::TAIL_GENERATION);
            let generation = self.memory.load32(word, Ordering::Acquire)?;
            if generation != self.place.generation {
                return Ok(());
            }
            self.met = true;
        }
        if self.next % RECORD != 0 {
            return Err(self.corrupt("the receiver's head is impossible"));
        }
        let word = self.place.word(control::TAIL);
        let tail = self.memory.load32(word, Ordering::Acquire)?;
        if tail.wrapping_sub(self.released) > self.place.size
            || tail.wrapping_sub(self.released) < self.next.wrapping_sub(self.released)
            || tail % RECORD != 0
        {
            return Err(self.corrupt("the sender's tail is impossible"));
        }
        self.tail = tail;
        Ok(())
    }

    fn corrupt(&mut self, what: &'static str) -> Fault {
        self.broken = Some(what);
        Fault::Corrupt(what)
    }

    /// The record at `next`, of which everything is checked here.
    fn record(&mut self) -> Result<Option<Record>, Fault> {
        let mut start = self.next;
        if start == self.tail {
            return Ok(None);
        }
        let mut len = self.header(start)?;
        if len == PADDING {
            start = start.wrapping_add(self.place.rest(start));
            if self.place.position(self.next) == 0 || !self.is_published(start) {
                return Err(Fault::Corrupt("there is padding where none can be"));
            }
            // Producers publish padding together with the message after it.
            len = self.header(start)?;
        }
        if len > self.place.longest() || record_len(len) > self.place.rest(start) {
            return Err(Fault::Corrupt("a message is longer than it can be"));
        }
        let end = start.wrapping_add(record_len(len));
        if !self.is_published(end) {
            return Err(Fault::Corrupt("a message ends after the sender's tail"));
        }
        Ok(Some(Record {
            offset: self.place.data(start) + u64::from(RECORD),
            len,
            end,
        }))
    }

    /// Whether the bytes from `next` up to `count` have been published.
    fn is_published(&self, count: u32) -> bool {
        count.wrapping_sub(self.next) <= self.tail.wrapping_sub(self.next)
    }

    /// The length that the record at `start` states, or [`PADDING`].
    fn header(&self, start: u32) -> Result<u32, Fault> {
        let mut bytes = [0; RECORD as usize];
        self.memory.read(self.place.data(start), &mut bytes)?;
        let word = u64::from_le_bytes(bytes);
        // CAST: The two halves of the word.
        let (len, guard) = (word as u32, (word >> 32) as u32);
        if guard != self.place.guard(start) {
            return Err(Fault::Corrupt("a message does not begin as messages do"));
        }
        Ok(len)
    }
}
