// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One ring, without doorbells and without time: what is checked, stored and loaded, and in which order.
//!
//! A ring is a block of control words and `size` bytes of data. *Tail* counts the bytes that the producer has
//! ever published, *head* those that the consumer has ever released, both modulo 2³². Only the producer writes
//! the tail and the data, only the consumer the head. Each keeps its own count in private memory, and believes
//! of the other's only what is possible.
//!
//! Doorbells are suppressed as in virtio: who goes to sleep writes the count which the other's has to pass for
//! it to be worth waking up; [`Producer::publish`] and [`Consumer::release`] say whether it was passed. One
//! sleep costs one doorbell.
//!
//! A ring with several senders is one such ring for each, a *lane*, and a word on which its receiver sleeps,
//! the *doze word*. What one sender does to its lane, by a crash or by malice, is of no concern to the others.
//!
//! [`Sender`](crate::Sender) and [`Receiver`](crate::Receiver) are what programs use.

mod consumer;
mod multi;
mod producer;

pub use consumer::{Consumer, Record};
pub use multi::{MultiConsumer, MultiFault};
pub use producer::{Producer, Space};

use ivshmem::AccessError;

/// Where the control words are in a ring's block: the producer's, then the consumer's in another cache line.
pub(crate) mod control {
    pub const TAIL: u64 = 0;
    pub const TAIL_GENERATION: u64 = 4;
    pub const SPACE_WAKE: u64 = 8;
    pub const HEAD: u64 = 64;
    pub const HEAD_GENERATION: u64 = 68;
    pub const DATA_WAKE: u64 = 72;
}

/// What a record's place in the data is a multiple of; also the length of what precedes each message.
pub(crate) const RECORD: u32 = 8;
/// Instead of a length: the rest of the data up to its end holds no message.
pub(crate) const PADDING: u32 = u32::MAX;

/// The count for which to be woken while there is none: a count that begins at 0 does not pass it.
pub(crate) const NEVER: u32 = u32::MAX;

/// The doze word while its receiver sleeps, or is about to. Only the receiver writes this.
pub(crate) const DOZING: u32 = 1;
/// The doze word after a sender found that the receiver has to be rung. Only senders write this.
pub(crate) const AWAKE: u32 = 0;

/// Where a ring is, and which making of the channel it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Byte offset of its block in the memory, a multiple of 128.
    pub offset: u64,
    /// Bytes of data: a power of two of 64 to 2³⁰.
    pub size: u32,
    /// The channel's generation; not 0.
    pub generation: u32,
    /// If this is a lane: byte offset of the doze word in the memory, a multiple of 4.
    pub doze: Option<u64>,
}

impl Place {
    fn word(&self, control: u64) -> u64 {
        self.offset + control
    }

    /// Byte offset in the memory of the data byte with the running number `count`.
    fn data(&self, count: u32) -> u64 {
        self.offset + crate::layout::BLOCK + u64::from(self.position(count))
    }

    fn position(&self, count: u32) -> u32 {
        count & (self.size - 1)
    }

    /// Bytes from there to the end of the data, at least [`RECORD`].
    fn rest(&self, count: u32) -> u32 {
        self.size - self.position(count)
    }

    /// Marks a record as one of this place in this generation, so that stray bytes are found out.
    fn guard(&self, count: u32) -> u32 {
        count ^ self.generation
    }

    fn longest(&self) -> u32 {
        self.size / 2 - RECORD
    }
}

/// Whether a count that went from `old` to `new` passed `wake`.
const fn passed(wake: u32, old: u32, new: u32) -> bool {
    new.wrapping_sub(wake).wrapping_sub(1) < new.wrapping_sub(old)
}

/// Bytes of the record of a message of `len` bytes, which is at most [`Place::longest`].
const fn record_len(len: u32) -> u32 {
    RECORD + len.next_multiple_of(RECORD)
}

/// Why a ring cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The ring is not in the memory, or the memory cannot be written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The other end never writes this. The ring says the same ever after.
    #[error("{0}")]
    Corrupt(&'static str),
    /// The message can never fit.
    #[error("{len} bytes are more than {max}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The longest one.
        max: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_passes_another() {
        // From 8 to 24, over 8 to 23, not over what is before or after.
        for wake in 8..24 {
            assert!(passed(wake, 8, 24), "{wake}");
        }
        for wake in [0, 7, 24, 25, u32::MAX] {
            assert!(!passed(wake, 8, 24), "{wake}");
        }
        // Over the wrap.
        assert!(passed(u32::MAX, u32::MAX - 7, 8));
        assert!(passed(0, u32::MAX - 7, 8));
        assert!(!passed(8, u32::MAX - 7, 8));
        // Nothing is passed by standing still.
        assert!(!passed(8, 8, 8));
    }
}
