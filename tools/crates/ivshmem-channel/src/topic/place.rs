// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Where the words of a topic are, and what they hold.

use std::sync::atomic::Ordering;

use ivshmem::{AccessError, Memory};

use crate::ring::Owned;

/// Where the words are in a topic's block.
pub(super) mod control {
    /// The writer's: generation for which its words hold.
    pub const ORIGIN: u64 = 0;
    /// Number of the newest value, 0 for none, and the writer's epoch.
    pub const NEWEST: u64 = 8;
    /// The readers': a bit for each slot that wants to be rung.
    pub const WAITING: u64 = 64;
}

/// Length of a topic's control words.
pub(crate) const CONTROL: u64 = 128;
/// Length of what stands before the bytes of a value.
pub(crate) const HEADER: u64 = 64;
/// Where a buffer has the length of its value.
const LENGTH: u64 = 8;

/// Where a topic is, and which making of the channel it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Byte offset of its block in the memory, a multiple of 64.
    pub offset: u64,
    /// Number of buffers, 3 to 64.
    pub buffers: u32,
    /// Bytes of each: a multiple of 64, up to 2³⁰.
    pub size: u32,
    /// The channel's generation; not 0.
    pub generation: u32,
}

impl Topic {
    pub(super) fn word(&self, control: u64) -> u64 {
        self.offset + control
    }

    /// Byte offset of the word of a buffer.
    pub(super) fn buffer(&self, index: u32) -> u64 {
        self.offset + CONTROL + u64::from(index) * (HEADER + u64::from(self.size))
    }

    /// Byte offset of the length of a buffer's value.
    pub(super) fn length(&self, index: u32) -> u64 {
        self.buffer(index) + LENGTH
    }

    /// Byte offset of a buffer's value.
    pub(super) fn bytes(&self, index: u32) -> u64 {
        self.buffer(index) + HEADER
    }

    /// What the word of a buffer says.
    pub(super) fn load(&self, memory: &impl Memory, index: u32) -> Result<Buffer, AccessError> {
        let word = memory.load64(self.buffer(index), Ordering::Acquire)?;
        Ok(Buffer::of_word(word))
    }
}

/// Numbers of values are 1 to this one, and begin again.
const LAST: u32 = u32::MAX - 2;
/// In place of a number: the writer of this epoch is writing, or was when it ended.
const WRITING: u32 = u32::MAX;
/// In place of a number: left out.
const OUT: u32 = u32::MAX - 1;

/// What the word of a buffer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffer {
    /// Nothing was written in this generation.
    Empty,
    /// It holds the value of this number, which the writer of this epoch wrote.
    Holds(Owned),
    /// The writer of this epoch is writing, or was when it ended.
    Writing(u32),
    /// The writer of this epoch has left it out: somebody may still write to it who was replaced. With the epoch, so that it
    /// is not as in an earlier generation for one who still replaces that.
    Out(u32),
}

impl Buffer {
    pub fn to_word(self) -> u64 {
        let owned = |count, epoch| Owned { count, epoch }.to_word();
        match self {
            Self::Empty => 0,
            Self::Holds(value) => value.to_word(),
            Self::Writing(epoch) => owned(WRITING, epoch),
            Self::Out(epoch) => owned(OUT, epoch),
        }
    }

    pub fn of_word(word: u64) -> Self {
        let value = Owned::of_word(word);
        match value.count {
            0 => Self::Empty,
            WRITING => Self::Writing(value.epoch),
            OUT => Self::Out(value.epoch),
            _ => Self::Holds(value),
        }
    }
}

/// The number of the value after the one with this number.
pub(super) fn after(number: u32) -> u32 {
    match number < LAST {
        true => number + 1,
        false => 1,
    }
}

/// How many values further `to` is than `from`, if both are numbers; 0 is before the first.
pub(super) fn distance(from: u32, to: u32) -> u32 {
    match to >= from {
        true => to - from,
        false => LAST.saturating_sub(from) + to,
    }
}

/// The number of the value `steps` before the one of this number.
pub(super) fn back(number: u32, steps: u32) -> u32 {
    match number > steps {
        true => number - steps,
        false => LAST - (steps - number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        let holds = |count, epoch| Buffer::Holds(Owned { count, epoch });
        for buffer in [
            Buffer::Empty,
            Buffer::Out(1),
            Buffer::Writing(0),
            Buffer::Writing(u32::MAX),
            holds(1, 0),
            holds(LAST, u32::MAX),
        ] {
            assert_eq!(Buffer::of_word(buffer.to_word()), buffer);
        }
    }

    #[test]
    fn numbers_begin_again_at_one() {
        assert_eq!(after(LAST), 1);
        let mut number = LAST - 2;
        for steps in 0..6 {
            assert_eq!(distance(LAST - 2, number), steps);
            assert_eq!(back(number, steps), LAST - 2);
            number = after(number);
        }
        assert_eq!((distance(0, 3), back(3, 2)), (3, 1));
    }
}
