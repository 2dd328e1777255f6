// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the trial's programs and its tests agree on.

use std::time::Duration;

use ivshmem_channel::Layout;

/// The slot that sends.
pub const SENDER: u32 = 0;
/// The slot that receives.
pub const RECEIVER: u32 = 1;
/// Byte offset in the memory of the number of messages that were received: a `u64`, behind the channel.
pub const PROGRESS: u64 = 512 << 10;
/// Size of the memory in bytes, at least.
pub const MEMORY: u64 = 1 << 20;

/// The channel, at the start of the memory.
pub fn layout() -> Layout {
    let layout = Layout::duplex(32 << 10);
    layout.heartbeat(Duration::from_millis(20), Duration::from_millis(200))
}

/// What the two say to each other. The first byte of a message tells which.
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
