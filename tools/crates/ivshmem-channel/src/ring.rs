// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One ring, without doorbells and without time: what is checked, stored and loaded, and in which order.
//!
//! A ring is a block of control words and `size` bytes of data. Counts are of bytes that ever went through it. The
//! producer writes *records*: a header word and a message. It publishes them by replacing the first one's header,
//! which was 0, so that the consumer looks at one place, where the message is. The consumer releases what it has read
//! by replacing its count, the *head*.
//!
//! Each end can be replaced by another program while it is stopped anywhere, and go on later. Both replace words
//! together with what shows that they are still the ones who may: an *epoch*, or a header that is still 0. What a
//! producer may be writing in the meantime is between what it has published and its *reach*, which it raises first;
//! its successor begins behind that, and leaves that place out for ever.
//!
//! Doorbells are suppressed as in virtio: who goes to sleep writes the count which the other's has to pass for
//! it to be worth waking up; [`Producer::publish`] and [`Consumer::release`] say whether it was passed. One
//! sleep costs one doorbell.
//!
//! A ring with several senders is one such ring for each, a *lane*, with two words that they share: which lanes have
//! messages, and whether the receiver sleeps. What one sender does to its lane, by a crash or by malice, is of no
//! concern to the others.
//!
//! [`Sender`](crate::Sender) and [`Receiver`](crate::Receiver) are what programs use.

mod consumer;
mod count;
mod lane;
mod multi;
mod producer;
mod quarantine;
mod record;

pub use consumer::{Consumer, Record};
pub use multi::{MultiConsumer, MultiFault};
pub use producer::{Handover, Producer, Space};

use std::ops::Range;
use std::sync::atomic::Ordering;

use ivshmem::{AccessError, Memory};

use count::{Counts, Cursor};
pub(crate) use count::{NEVER, RECORD};

/// Where the words are in a ring's block. Each line is written by one end, and seldom read by the other.
pub(crate) mod control {
    /// The producer's: generation for which its words hold.
    pub const ORIGIN: u64 = 0;
    /// Count up to which it may write, and its epoch.
    pub const REACH: u64 = 8;
    pub const SPACE_WAKE: u64 = 16;
    /// Places that are left out.
    pub const QUARANTINE: u64 = 64;
    /// The consumer's: generation for which its words hold.
    pub const HEAD_GENERATION: u64 = 128;
    /// What it has released, and its epoch.
    pub const HEAD: u64 = 136;
    pub const DATA_WAKE: u64 = 192;
}

/// Length of a ring's control words.
pub(crate) const CONTROL: u64 = 256;

/// Where the words are that the lanes of a ring share.
pub(crate) mod shared {
    /// Whether the receiver sleeps: [`DOZING`](super::DOZING) or [`AWAKE`](super::AWAKE).
    pub const DOZE: u64 = 0;
    /// A bit for each lane that got messages.
    pub const READY: u64 = 8;
}

/// The doze word while the receiver sleeps, or is about to.
pub(crate) const DOZING: u32 = 1;
/// The doze word otherwise.
pub(crate) const AWAKE: u32 = 0;

/// Which lane of a ring with several senders a ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Byte offset in the memory of the words that the lanes share, a multiple of 64.
    pub shared: u64,
    /// Its number, below 64.
    pub number: u32,
}

/// Where a ring is, and which making of the channel it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Byte offset of its block in the memory, a multiple of 64.
    pub offset: u64,
    /// Bytes of data: a multiple of 64, up to 2³⁰.
    pub size: u32,
    /// The channel's generation; not 0.
    pub generation: u32,
    /// If this is a lane: which.
    pub lane: Option<Lane>,
}

impl Place {
    #[inline]
    fn word(&self, control: u64) -> u64 {
        self.offset + control
    }

    /// Byte offset in the memory of the data at `cursor`.
    #[inline]
    fn data(&self, cursor: Cursor) -> u64 {
        self.offset + CONTROL + u64::from(cursor.at)
    }

    #[inline]
    fn counts(&self) -> Counts {
        Counts::of(self.size)
    }

    /// The longest message: beside its record there are the empty header after it, and one for a successor.
    pub(crate) const fn longest(&self) -> u32 {
        self.size - 3 * RECORD
    }
}

/// A stretch of the data, which may go over its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Byte offset in the memory of the data, and their number.
    data: u64,
    size: u32,
    /// Where in them it begins.
    at: u32,
}

impl Stretch {
    /// Where its first `len` bytes are in the memory: in two parts if it goes over the end of the data.
    pub fn ranges(&self, len: u32) -> [Range<u64>; 2] {
        // CAST: Lengths in memory that is mapped.
        self.parts(0, len as usize)
            .map(|(at, len)| at..at + len as u64)
    }

    /// The parts of `len` bytes from byte `skip` of the stretch on: byte offsets in the memory, and lengths.
    #[inline]
    fn parts(&self, skip: u32, len: usize) -> [(u64, usize); 2] {
        let mut at = self.at + skip;
        if at >= self.size {
            at -= self.size;
        }
        // CAST: Not above the length.
        let first = len.min((self.size - at) as usize);
        [(self.data + u64::from(at), first), (self.data, len - first)]
    }

    /// Copies bytes from byte `skip` of the stretch on, all of which is in it.
    ///
    /// # Errors
    ///
    /// [`AccessError`] if the ring is not in the memory.
    #[inline]
    pub fn read(
        &self,
        memory: &impl Memory,
        skip: u32,
        into: &mut [u8],
    ) -> Result<(), AccessError> {
        let [(at, first), (start, rest)] = self.parts(skip, into.len());
        let (head, tail) = into.split_at_mut(first);
        memory.read(at, head)?;
        match rest {
            0 => Ok(()),
            _ => memory.read(start, tail),
        }
    }

    /// Copies its first `len` bytes to the end of `into`.
    ///
    /// # Errors
    ///
    /// [`AccessError`] if the ring is not in the memory.
    #[inline]
    pub fn append(
        &self,
        memory: &impl Memory,
        len: u32,
        into: &mut Vec<u8>,
    ) -> Result<(), AccessError> {
        // CAST: A length in memory that is mapped.
        let [(at, first), (start, rest)] = self.parts(0, len as usize);
        memory.append(at, first, into)?;
        match rest {
            0 => Ok(()),
            _ => memory.append(start, rest, into),
        }
    }

    /// Copies `from` to byte `skip` of the stretch, all of which is in it.
    ///
    /// # Errors
    ///
    /// [`AccessError`] if the ring is not in the memory, or that is mapped for reading only.
    #[inline]
    pub fn write(&self, memory: &impl Memory, skip: u32, from: &[u8]) -> Result<(), AccessError> {
        let [(at, first), (start, rest)] = self.parts(skip, from.len());
        let (head, tail) = from.split_at(first);
        memory.write(at, head)?;
        match rest {
            0 => Ok(()),
            _ => memory.write(start, tail),
        }
    }
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
    /// Another program has taken this end over.
    #[error("another program has taken over")]
    Replaced,
    /// The message can never fit.
    #[error("{len} bytes are more than {max}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The longest one.
        max: usize,
    },
}

/// A count and an epoch, which are replaced together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub count: u32,
    pub epoch: u32,
}

impl Owned {
    #[inline]
    pub fn to_word(self) -> u64 {
        u64::from(self.count) | u64::from(self.epoch) << 32
    }

    #[inline]
    pub fn of_word(word: u64) -> Self {
        // CAST: Each takes its half.
        Self {
            count: word as u32,
            epoch: (word >> 32) as u32,
        }
    }
}

/// How often to try to replace a word that others replace too. Who keeps to the rules does so a few times at most.
pub(crate) const MOST_TRIES: u32 = 1000;
/// What is wrong where that is not enough.
const BUSY: Fault = Fault::Corrupt("somebody replaces a word again and again");

/// What a word was that others replace too.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Was {
    /// This, and was replaced.
    Replaced(u64),
    /// This, and is to stay so.
    Kept(u64),
    /// This at last: others replaced it again and again.
    Busy(u64),
}

impl Was {
    pub fn word(self) -> u64 {
        let (Self::Replaced(word) | Self::Kept(word) | Self::Busy(word)) = self;
        word
    }
}

/// Replaces the word at `offset` by what `new` makes of it, which is asked between each look and the step; `None`: the word
/// stays.
#[inline]
pub(crate) fn update(
    memory: &impl Memory,
    offset: u64,
    mut new: impl FnMut(u64) -> Result<Option<u64>, Fault>,
) -> Result<Was, Fault> {
    let mut old = memory.load64(offset, Ordering::Acquire)?;
    for _ in 0..MOST_TRIES {
        let Some(new) = new(old)? else {
            return Ok(Was::Kept(old));
        };
        match memory.compare_exchange64(offset, old, new)? {
            Ok(_) => return Ok(Was::Replaced(old)),
            Err(other) => old = other,
        }
    }
    Ok(Was::Busy(old))
}

/// Takes over the word at `offset` of `memory`, by which an end shows that it is the one. `may` is asked between the
/// look and the step: whoever takes over by the rules comes after whom it replaces, so that a program that was replaced
/// meanwhile either is found by it, or fails in the step.
pub(crate) fn take_over(
    memory: &impl Memory,
    offset: u64,
    may: &mut dyn FnMut() -> Result<(), Fault>,
) -> Result<Owned, Fault> {
    let next = |word| {
        let old = Owned::of_word(word);
        Owned {
            epoch: old.epoch.wrapping_add(1),
            ..old
        }
    };
    let was = update(memory, offset, |word| {
        may()?;
        Ok(Some(next(word).to_word()))
    });
    match was? {
        Was::Replaced(word) => Ok(next(word)),
        _ => Err(BUSY),
    }
}

/// Whether the program that takes over is still the one.
pub(crate) type IsOurs<'a> = &'a dyn Fn() -> Result<(), Fault>;

/// Replaces the word at `offset` by what `new` makes of it. Not by a store, and `is_ours` is asked after the look: who
/// was stopped anywhere in here, and was replaced, does not overwrite what its successor wrote.
pub(crate) fn replace(
    memory: &impl Memory,
    offset: u64,
    is_ours: IsOurs<'_>,
    mut new: impl FnMut(u64) -> Option<u64>,
) -> Result<(), Fault> {
    let was = update(memory, offset, |old| {
        is_ours()?;
        Ok(new(old))
    });
    match was? {
        Was::Busy(_) => Err(BUSY),
        _ => Ok(()),
    }
}
