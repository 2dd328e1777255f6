// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! An end of a topic that reads.

use std::sync::atomic::Ordering;

use ivshmem::Memory;

use super::place::{after, back, control, distance, Buffer, Topic};
use crate::ring::{update, Fault, Owned};

/// How often to try in a row to copy a value before another one is written over it.
const TRIES: u32 = 8;

/// A value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// How many values this reader has not seen between the one before and this one.
    pub missed: u32,
}

/// An end of a topic that reads. There may be any number.
#[derive(Debug)]
pub struct Reader<M> {
    memory: M,
    topic: Topic,
    /// Number of the value that was read last, or before the one to begin with; 0: before the first.
    seen: u32,
    /// Whether the writer has come in this generation. It does not go again.
    met: bool,
    /// Number of the newest value when that was not there; 0: it was.
    absent: u32,
}

impl<M: Memory> Reader<M> {
    /// Begins with the newest value, or with the first one if there is none yet.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`].
    pub fn new(memory: M, topic: Topic) -> Result<Self, Fault> {
        let mut this = Self {
            memory,
            topic,
            seen: 0,
            met: false,
            absent: 0,
        };
        if let Some(newest) = this.look()? {
            this.seen = back(newest.count, 1);
        }
        Ok(this)
    }

    /// Copies the newest value into `into`, in place of what was there; `None` if it was read already, or is not there:
    /// `into` means nothing then.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`].
    pub fn newest(&mut self, into: &mut Vec<u8>) -> Result<Option<Found>, Fault> {
        self.find(into, 1)
    }

    /// As [`newest`](Self::newest), but the oldest value that this reader has not read and that is still there.
    ///
    /// # Errors
    ///
    /// As [`newest`](Self::newest).
    pub fn next(&mut self, into: &mut Vec<u8>) -> Result<Option<Found>, Fault> {
        self.find(into, self.topic.buffers)
    }

    /// Whether it is worth while to look for a value: it can have been written over meanwhile.
    ///
    /// # Errors
    ///
    /// As [`newest`](Self::newest).
    pub fn has_news(&mut self) -> Result<bool, Fault> {
        let Some(newest) = self.look()? else {
            return Ok(false);
        };
        // One that was not there is by now if whoever took over the topic has found it.
        Ok(newest.count != self.absent || self.buffer(newest)?.is_some())
    }

    /// The buffer that holds a value, and the length of that; `None` if it cannot be read.
    fn buffer(&self, value: Owned) -> Result<Option<(u32, u32)>, Fault> {
        for index in 0..self.topic.buffers {
            if self.topic.load(&self.memory, index)? == Buffer::Holds(value) {
                let length = self.topic.length(index);
                let len = self.memory.load32(length, Ordering::Relaxed)?;
                return Ok((len <= self.topic.size).then_some((index, len)));
            }
        }
        Ok(None)
    }

    /// Takes the oldest of the `most` newest values.
    fn find(&mut self, into: &mut Vec<u8>, most: u32) -> Result<Option<Found>, Fault> {
        for _ in 0..TRIES {
            let Some(newest) = self.look()? else {
                return Ok(None);
            };
            // There are not more than buffers.
            let steps = distance(self.seen, newest.count).min(most);
            let mut number = back(newest.count, steps - 1);
            for _ in 0..steps {
                let value = Owned {
                    count: number,
                    ..newest
                };
                if let Some(found) = self.take(value, into)? {
                    return Ok(Some(found));
                }
                number = after(number);
            }
            // Others were written meanwhile. Or somebody is just taking over the topic, or does not keep to the rules.
            if self.look()? == Some(newest) {
                self.absent = newest.count;
                break;
            }
        }
        Ok(None)
    }

    /// The newest value; `None` if that was read, or there is none.
    fn look(&mut self) -> Result<Option<Owned>, Fault> {
        if !self.met {
            let origin = self.topic.word(control::ORIGIN);
            let generation = self.memory.load32(origin, Ordering::Acquire)?;
            if generation != self.topic.generation {
                return Ok(None);
            }
            self.met = true;
        }
        let at = self.topic.word(control::NEWEST);
        let newest = Owned::of_word(self.memory.load64(at, Ordering::Acquire)?);
        Ok((![0, self.seen].contains(&newest.count)).then_some(newest))
    }

    /// Copies a value, if it is there and stays there meanwhile.
    fn take(&mut self, value: Owned, into: &mut Vec<u8>) -> Result<Option<Found>, Fault> {
        let Some((index, len)) = self.buffer(value)? else {
            return Ok(None);
        };
        into.clear();
        // CAST: Not above the longest value.
        self.memory
            .append(self.topic.bytes(index), len as usize, into)?;
        // What was read before comes before the look.
        self.memory.fence_loads();
        if self.topic.load(&self.memory, index)? != Buffer::Holds(value) {
            return Ok(None);
        }
        let missed = distance(self.seen, value.count).saturating_sub(1);
        (self.seen, self.absent) = (value.count, 0);
        Ok(Some(Found { missed }))
    }

    /// Asks the writer to ring slot `slot`, which is below 64. Returns the word to sleep on, by its byte offset, and its
    /// value; `None` if there is a value by now.
    ///
    /// # Errors
    ///
    /// As [`newest`](Self::newest).
    pub fn arm(&mut self, slot: u32) -> Result<Option<(u64, u32)>, Fault> {
        let at = self.topic.word(control::WAITING);
        let bit = 1u64 << slot;
        // Also if it was set: the writer may have taken it since. Who is kept from it is not rung, and looks by itself.
        let set = |waiting| Ok(Some(waiting | bit));
        let waiting = update(&self.memory, at, set)?.word();
        self.memory.fence();
        if self.has_news()? {
            return Ok(None);
        }
        // Not on the newest: a ring for a value that was read already takes the bit, and is no reason to sleep on.
        let half = slot / 32;
        let value = (waiting | bit) >> (32 * half);
        // CAST: The half with the bit.
        Ok(Some((at + u64::from(4 * half), value as u32)))
    }
}
