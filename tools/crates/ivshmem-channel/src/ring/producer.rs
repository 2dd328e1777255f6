// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The end of a ring that sends.

use std::sync::atomic::Ordering;

use ivshmem::Memory;

use super::{control, passed, record_len, Fault, Place, AWAKE, NEVER, PADDING, RECORD};

/// Room for a message, which nobody sees before it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Byte offset in the memory.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
    /// The running number of the record's first byte.
    start: u32,
}

/// The end of a ring that sends.
#[derive(Debug)]
pub struct Producer<M> {
    memory: M,
    place: Place,
    /// The running number of the next byte to write.
    next: u32,
    /// What the consumer has been told.
    published: u32,
    /// What the consumer has released, as far as we know; 0 until it has come.
    head: u32,
    /// Whether the consumer has come in this generation. It does not go again.
    met: bool,
    broken: Option<&'static str>,
}

impl<M: Memory> Producer<M> {
    /// Takes over the sending end: goes on where the last one was in this generation, or begins.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`].
    pub fn attach(memory: M, place: Place) -> Result<Self, Fault> {
        let generation = memory.load32(place.word(control::TAIL_GENERATION), Ordering::Acquire)?;
        let mut tail = 0;
        if generation == place.generation {
            tail = memory.load32(place.word(control::TAIL), Ordering::Relaxed)?;
        } else {
            memory.store32(place.word(control::TAIL), 0, Ordering::Relaxed)?;
            memory.store32(place.word(control::SPACE_WAKE), NEVER, Ordering::Relaxed)?;
            // The consumer believes the tail from here on.
            let word = place.word(control::TAIL_GENERATION);
            memory.store32(word, place.generation, Ordering::Release)?;
        }
        Ok(Self {
            memory,
            place,
            next: tail,
            published: tail,
            // As far back as can be, so that every head that can be is ahead of it.
            head: tail.wrapping_sub(place.size),
            met: false,
            broken: (tail % RECORD != 0).then_some("the sender's tail is impossible"),
        })
    }

    /// The memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The longest message in bytes.
    pub fn longest(&self) -> usize {
        self.place.longest() as usize
    }

    /// Finds room for a message of up to `len` bytes; `None` if the ring is too full now.
    ///
    /// # Errors
    ///
    /// [`Fault::TooLong`], [`Fault::Corrupt`].
    pub fn reserve(&mut self, len: usize) -> Result<Option<Space>, Fault> {
        let need = self.need(len)?;
        if self.free() < need && !self.refresh(need)? {
            return Ok(None);
        }
        let mut start = self.next;
        // CAST: Not above the longest message, by `need`.
        let len = len as u32;
        if self.place.rest(start) < record_len(len) {
            self.write_record(start, PADDING)?;
            start = start.wrapping_add(self.place.rest(start));
        }
        Ok(Some(Space {
            offset: self.place.data(start) + u64::from(RECORD),
            len,
            start,
        }))
    }

    /// Ends the message in `space`, the last one that was reserved, with its first `len` bytes. The consumer
    /// sees it after [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// [`Fault::TooLong`] if it is more than was reserved.
    pub fn commit(&mut self, space: Space, len: usize) -> Result<(), Fault> {
        let max = space.len;
        let too_long = Fault::TooLong {
            len,
            max: max as usize,
        };
        let len = u32::try_from(len)
            .ok()
            .filter(|len| *len <= max)
            .ok_or(too_long)?;
        self.write_record(space.start, len)?;
        self.next = space.start.wrapping_add(record_len(len));
        Ok(())
    }

    /// Shows the consumer all that was committed. Returns whether it has to be rung.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`].
    pub fn publish(&mut self) -> Result<bool, Fault> {
        if self.published == self.next {
            return Ok(false);
        }
        let word = self.place.word(control::TAIL);
        self.memory.store32(word, self.next, Ordering::Release)?;
        let old = std::mem::replace(&mut self.published, self.next);
        // Either we see that the consumer wants to sleep, or it sees the new tail: see `Consumer::arm`.
        self.memory.fence();
        let word = self.place.word(control::DATA_WAKE);
        let wake = self.memory.load32(word, Ordering::Relaxed)?;
        let wanted = passed(wake, old, self.next);
        if let (true, Some(doze)) = (wanted, self.place.doze) {
            // After our fence, so after the receiver's store if it armed our lane: see `MultiConsumer::arm`.
            self.memory.store32(doze, AWAKE, Ordering::Release)?;
        }
        Ok(wanted)
    }

    /// Asks to be rung when there is room for `len` bytes. Returns the word to sleep on, by its byte offset,
    /// and its value; `None` if there is room by now.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    pub fn arm(&mut self, len: usize) -> Result<Option<(u64, u32)>, Fault> {
        let need = self.need(len)?;
        let enough = self.next.wrapping_add(need).wrapping_sub(self.place.size);
        let word = self.place.word(control::SPACE_WAKE);
        let wake = enough.wrapping_sub(1);
        self.memory.store32(word, wake, Ordering::Relaxed)?;
        self.memory.fence();
        if self.refresh(need)? {
            return Ok(None);
        }
        Ok(Some((self.place.word(control::HEAD), self.head)))
    }

    /// Bytes of the ring that a message of `len` bytes takes at this place, with the padding before it.
    fn need(&self, len: usize) -> Result<u32, Fault> {
        if let Some(what) = self.broken {
            return Err(Fault::Corrupt(what));
        }
        let max = self.longest();
        if len > max {
            return Err(Fault::TooLong { len, max });
        }
        // CAST: Checked right above.
        let record = record_len(len as u32);
        let rest = self.place.rest(self.next);
        Ok(if rest < record { rest + record } else { record })
    }

    fn free(&self) -> u32 {
        self.place.size - self.next.wrapping_sub(self.head)
    }

    /// Looks again how much the consumer has released; returns whether `need` bytes are free now.
    fn refresh(&mut self, need: u32) -> Result<bool, Fault> {
        let head = self.load_head()?;
        let forward = self.next.wrapping_sub(head) <= self.next.wrapping_sub(self.head);
        if !forward || head % RECORD != 0 {
            let what = "the receiver's head is impossible";
            self.broken = Some(what);
            return Err(Fault::Corrupt(what));
        }
        self.head = head;
        Ok(self.free() >= need)
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
        Ok(self.memory.load32(word, Ordering::Acquire)?)
    }

    fn write_record(&self, start: u32, len: u32) -> Result<(), Fault> {
        let guard = u64::from(self.place.guard(start)) << 32;
        let bytes = (guard | u64::from(len)).to_le_bytes();
        Ok(self.memory.write(self.place.data(start), &bytes)?)
    }
}
