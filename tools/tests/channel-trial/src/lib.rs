// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the trial's programs and its tests agree on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ivshmem::{AccessError, Memory};
use ivshmem_channel::Layout;

/// The slot that receives. The senders have those after it.
pub const RECEIVER: u32 = 0;
/// Byte offset in the memory of the [`Progress`], behind the channel.
const PROGRESS: u64 = 512 << 10;
/// Size of the memory in bytes, at least.
pub const MEMORY: u64 = 1 << 20;
/// Most senders.
pub const MAX_SENDERS: u32 = 8;

/// The channel, at the start of the memory: for one sender, a ring each way; for several, one ring from all of
/// them, and one back to each.
pub fn layout(senders: u32) -> Layout {
    const SIZE: u32 = 32 << 10;
    let layout = match senders {
        1 => Layout::duplex(SIZE),
        _ => (1..=senders).fold(
            Layout::new(1 + senders).multi_ring(RECEIVER, SIZE),
            |layout, sender| layout.ring(RECEIVER, sender, SIZE),
        ),
    };
    layout.heartbeat(Duration::from_millis(20), Duration::from_millis(200))
}

/// How far each sender's messages have come, in the shared memory, so that it survives everybody.
pub struct Progress<M>(pub M);

impl<M: Memory> Progress<M> {
    /// How many messages of `sender` were received.
    ///
    /// # Errors
    ///
    /// The memory is too small.
    pub fn received(&self, sender: u32) -> Result<u64, AccessError> {
        self.0.load64(Self::place(sender), Ordering::Relaxed)
    }

    /// Sets that number.
    ///
    /// # Errors
    ///
    /// As [`received`](Self::received).
    pub fn set_received(&self, sender: u32, count: u64) -> Result<(), AccessError> {
        self.0
            .store64(Self::place(sender), count, Ordering::Relaxed)
    }

    /// Whether `sender` was told that all have arrived.
    ///
    /// # Errors
    ///
    /// As [`received`](Self::received).
    pub fn is_done(&self, sender: u32) -> Result<bool, AccessError> {
        let word = self.0.load64(Self::place(sender) + 8, Ordering::Relaxed)?;
        Ok(word != 0)
    }

    /// Sets that.
    ///
    /// # Errors
    ///
    /// As [`received`](Self::received).
    pub fn set_done(&self, sender: u32, done: bool) -> Result<(), AccessError> {
        let word = Self::place(sender) + 8;
        self.0.store64(word, done.into(), Ordering::Relaxed)
    }

    /// How many messages of `senders` senders were received.
    ///
    /// # Errors
    ///
    /// As [`received`](Self::received).
    pub fn total(&self, senders: u32) -> Result<u64, AccessError> {
        (1..=senders).map(|sender| self.received(sender)).sum()
    }

    /// Forgets everything.
    ///
    /// # Errors
    ///
    /// As [`received`](Self::received).
    pub fn clear(&self) -> Result<(), AccessError> {
        (1..=MAX_SENDERS).try_for_each(|sender| {
            self.set_received(sender, 0)?;
            self.set_done(sender, false)
        })
    }

    fn place(sender: u32) -> u64 {
        PROGRESS + u64::from(sender) * 16
    }
}

/// The number of messages of a trial: the first, or with `IVSHMEM_TRIAL=full` in the environment the second.
pub fn short_or_full(short: u64, full: u64) -> u64 {
    match std::env::var_os("IVSHMEM_TRIAL").is_some_and(|form| form == "full") {
        true => full,
        false => short,
    }
}

/// What sender and receiver say to each other. The first byte of a message tells which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A sender has come: where shall it go on? With its incarnation.
    Hello(u32),
    /// To the sender of this incarnation: with this message.
    Resume(u32, u64),
    /// The message with this number.
    Data(u64),
    /// That was the last one; there were so many.
    End(u64),
    /// All have arrived.
    Done,
}

impl Word {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (tag, numbers) = match self {
            Self::Hello(who) => (1, vec![u64::from(*who)]),
            Self::Resume(who, next) => (2, vec![u64::from(*who), *next]),
            Self::Data(number) => (3, vec![*number]),
            Self::End(count) => (4, vec![*count]),
            Self::Done => (5, vec![]),
        };
        let mut bytes = vec![tag];
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        if let Self::Data(number) = self {
            bytes.extend(filling(*number));
        }
        bytes
    }

    /// What bytes mean; `None` if not every one is as it has to be.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let number = |n: usize| {
            let bytes = rest.get(n * 8..n * 8 + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let who = || u32::try_from(number(0)?).ok();
        let word = match tag {
            1 => Self::Hello(who()?),
            2 => Self::Resume(who()?, number(1)?),
            3 => Self::Data(number(0)?),
            4 => Self::End(number(0)?),
            5 => Self::Done,
            _ => return None,
        };
        (word.encode() == bytes).then_some(word)
    }
}

/// What a message with this number contains: 0 to 255 bytes, which look random.
fn filling(number: u64) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    let len = next();
    (0..len).map(|_| next()).collect()
}
