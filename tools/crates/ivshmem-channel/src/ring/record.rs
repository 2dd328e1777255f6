// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The header of a record: what follows it, and how much.

use super::{Place, RECORD};

/// What a header says. No header is 0, which says that nothing was published there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// A message of so many bytes.
    Message(u32),
    /// Nothing, for so many bytes from the header on.
    Skip(u32),
}

/// The two low bits.
const MESSAGE: u32 = 1;
const SKIP: u32 = 2;

impl Header {
    /// The word at `count`. The upper half marks it as one of this place in this generation, so that stray bytes are
    /// found out.
    #[inline]
    pub fn to_word(self, place: &Place, count: u32) -> u64 {
        let low = match self {
            Self::Message(len) => len << 2 | MESSAGE,
            Self::Skip(bytes) => bytes << 2 | SKIP,
        };
        u64::from(low) | u64::from(count ^ place.generation) << 32
    }

    /// Whether the word is one of a message, if it is one at all.
    #[inline]
    pub fn is_message(word: u64) -> bool {
        word & 3 == u64::from(MESSAGE)
    }

    /// What the word at `count`, which is not 0, says. Lengths are judged by [`end`](Self::len).
    #[inline]
    pub fn of_word(word: u64, place: &Place, count: u32) -> Result<Self, &'static str> {
        // CAST: The two halves.
        let (low, guard) = (word as u32, (word >> 32) as u32);
        if guard != count ^ place.generation {
            return Err("a message does not begin as messages do");
        }
        match low & 3 {
            MESSAGE => Ok(Self::Message(low >> 2)),
            SKIP => Ok(Self::Skip(low >> 2)),
            _ => Err("a message does not begin as messages do"),
        }
    }

    /// Bytes of all of the record, if it can be.
    #[inline]
    pub fn record_len(self, place: &Place) -> Result<u32, &'static str> {
        match self {
            Self::Message(len) if len <= place.longest() => Ok(record_len(len)),
            Self::Message(_) => Err("a message is longer than it can be"),
            Self::Skip(bytes) if bytes > 0 && bytes < place.size && bytes % RECORD == 0 => {
                Ok(bytes)
            }
            Self::Skip(_) => Err("a message is left out where none can be"),
        }
    }
}

/// Bytes of the record of a message of `len` bytes, which is at most [`Place::longest`].
#[inline]
pub(crate) const fn record_len(len: u32) -> u32 {
    RECORD + len.next_multiple_of(RECORD)
}
