// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The shape of a channel, and its bytes. `Documentation/channel.rst` describes them.

use std::time::Duration;

use crate::ring::CONTROL;
use crate::topic;

mod plan;

pub use plan::Plan;

/// The first eight bytes of a channel: `IVSHCHAN`.
const MAGIC: u64 = u64::from_le_bytes(*b"IVSHCHAN");
/// The first half of what is there instead while a program makes the channel; the second half is that program's.
const MAKING: u32 = u32::from_le_bytes(*b"IVSM");
/// The only version of the layout there is.
const VERSION: u32 = 1;
/// A feature that a reader has to know: the table has ring buffers with several senders.
const FEATURE_MULTI: u32 = 1;

/// As above: there are topics.
const FEATURE_TOPICS: u32 = 2;

/// Most slots of a channel.
pub const MAX_SLOTS: u32 = 64;
/// Most ring buffers and topics of a channel.
pub const MAX_RINGS: u32 = 4096;

/// What areas begin at multiples of.
pub(crate) const BASE_ALIGN: u64 = 4096;
/// Length of the header; the table of ring buffers follows it.
pub(crate) const HEADER_LEN: usize = 128;
/// Length of an entry of the table of ring buffers.
const ENTRY_LEN: usize = 16;
/// Length of a slot, and of what the lanes of a ring buffer share; slots begin at multiples of it.
pub(crate) const BLOCK: u64 = 128;

/// Where the fields of the header are.
pub(crate) mod header {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 8;
    /// 0 while the channel is made.
    pub const GENERATION: usize = 12;
    pub const FEATURES_REQUIRED: usize = 16;
    pub const SIZE: usize = 24;
    pub const SLOTS: usize = 32;
    pub const RINGS: usize = 36;
    pub const HEARTBEAT_MS: usize = 40;
    pub const LOST_MS: usize = 44;
    pub const CHECKSUM: usize = 48;
}

/// What is in the place of the magic number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stage(u64);

impl Stage {
    /// The channel was made.
    pub const MADE: Self = Self(MAGIC);

    pub fn of(word: u64) -> Self {
        Self(word)
    }

    /// A program that drew `number` makes it.
    pub fn marked(number: u32) -> Self {
        Self(u64::from(number) << 32 | u64::from(MAKING))
    }

    pub fn is_marked(self) -> bool {
        // CAST: The lower half.
        self.0 as u32 == MAKING
    }

    pub fn word(self) -> u64 {
        self.0
    }
}

/// Where the fields of a slot are.
pub(crate) mod slot {
    /// Generation and incarnation, replaced as one word of 64 bits.
    pub const OWNER: u64 = 0;
    /// Incarnation and heartbeat, written and read as one word of 64 bits.
    pub const JOINED: u64 = 8;
    pub const PEER_ID: u64 = 16;
    pub const VECTOR: u64 = 20;
    pub const DOMAIN: u64 = 24;
    pub const MACHINE: u64 = 28;
    pub const PROOF: u64 = 32;
}

/// Smallest and largest size of a ring buffer's data in bytes, and what it is a multiple of.
const RING_SIZES: std::ops::RangeInclusive<u32> = RING_ALIGN..=1 << 30;
const RING_ALIGN: u32 = 64;
/// Range of the heartbeat in milliseconds.
const HEARTBEATS: std::ops::RangeInclusive<u32> = 10..=60_000;
/// The longest time in milliseconds after which a silent program counts as lost.
const MAX_LOST_MS: u32 = 3_600_000;

/// Range of the number of a topic's buffers.
const BUFFERS: std::ops::RangeInclusive<u32> = 3..=64;

/// Why bytes are no channel, or a layout is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// Other bytes than those of a channel.
    #[error("the memory does not begin as a channel does")]
    Magic,
    /// A layout of the future.
    #[error("its layout has version {0}, this library knows {VERSION}")]
    Version(u32),
    /// It is being made right now, or its maker died meanwhile.
    #[error("it is not made yet")]
    Unfinished,
    /// It uses what this library does not know.
    #[error("it requires features {0:#x} that this library does not know")]
    Features(u32),
    /// The header or the table was changed after it was made.
    #[error("its checksum is wrong")]
    Checksum,
    /// A number is out of its range.
    #[error("{0} is out of range")]
    Range(&'static str),
    /// It needs more memory than there is.
    #[error("it needs {needed} bytes of the {available} that there are")]
    TooLarge {
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that there are.
        available: u64,
    },
    /// Two ring buffers have the same ends.
    #[error("two ring buffers go from one slot to the same other")]
    TwoRings,
}

/// Kinds of entries: ring buffers with one sender, or of all others; topics.
mod kind {
    pub const SINGLE: u32 = 1;
    pub const MULTI: u32 = 2;
    pub const TOPIC: u32 = 3;
}
/// Instead of the slot that sends: all but the one that receives.
const ALL_OTHERS: u32 = u32::MAX;

/// Who sends into a ring buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Producers {
    /// The program in this slot.
    One(u32),
    /// The programs in all slots but the receiver's, each through a lane of its own.
    Others,
}

/// A ring buffer of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSpec {
    /// Who sends.
    pub producers: Producers,
    /// The slot that receives.
    pub consumer: u32,
    /// Bytes of data that it holds for each sender: a multiple of 64, up to 2³⁰. The longest message has 24 bytes less.
    pub size: u32,
}

impl RingSpec {
    /// Bytes that one sender's part takes.
    fn lane_len(&self) -> u64 {
        CONTROL + u64::from(self.size)
    }

    /// Bytes that it takes in a channel of `slots` slots.
    fn len(&self, slots: u32) -> u64 {
        match self.producers {
            Producers::One(_) => self.lane_len(),
            Producers::Others => {
                let lanes = u64::from(slots.saturating_sub(1));
                BLOCK.saturating_add(lanes.saturating_mul(self.lane_len()))
            }
        }
    }

    /// The slots that send, of `slots`, in the order of their lanes.
    fn senders(self, slots: u32) -> impl Iterator<Item = u32> {
        let range = match self.producers {
            Producers::One(slot) => slot..slot.saturating_add(1),
            Producers::Others => 0..slots,
        };
        let others = self.producers == Producers::Others;
        range.filter(move |slot| !(others && *slot == self.consumer))
    }
}

/// A topic of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// The slot that publishes.
    pub publisher: u32,
    /// Number of buffers, 3 to 64: who reads has to finish a value before so many others, less two, are published.
    pub buffers: u32,
    /// Bytes of the longest value: a multiple of 64, up to 2³⁰.
    pub size: u32,
}

impl TopicSpec {
    fn len(&self) -> u64 {
        let buffer = topic::HEADER + u64::from(self.size);
        topic::CONTROL.saturating_add(u64::from(self.buffers).saturating_mul(buffer))
    }
}

/// The shape of a channel: who can take part, and which ring buffers and topics there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    slots: u32,
    rings: Vec<RingSpec>,
    topics: Vec<TopicSpec>,
    heartbeat_ms: u32,
    lost_ms: u32,
}

impl Layout {
    /// `slots` programs, 2 to [`MAX_SLOTS`], without any ring buffers yet. They show that they live twice in a
    /// second, and count as lost after 3 silent seconds.
    pub fn new(slots: u32) -> Self {
        Self {
            slots,
            rings: Vec::new(),
            topics: Vec::new(),
            heartbeat_ms: 500,
            lost_ms: 3000,
        }
    }

    /// Two programs, and a ring buffer of `size` bytes each way.
    pub fn duplex(size: u32) -> Self {
        Self::new(2).ring(0, 1, size).ring(1, 0, size)
    }

    /// Adds a ring buffer of `size` bytes from one slot to another.
    pub fn ring(self, producer: u32, consumer: u32, size: u32) -> Self {
        self.with(Producers::One(producer), consumer, size)
    }

    /// Adds a ring buffer to one slot from all others, each of which has `size` bytes of its own in it.
    pub fn multi_ring(self, consumer: u32, size: u32) -> Self {
        self.with(Producers::Others, consumer, size)
    }

    /// Adds a topic of values of up to `size` bytes, which one slot publishes and all others can read. Topics have
    /// numbers, from 0 on in the order in which they are added.
    pub fn topic(mut self, publisher: u32, buffers: u32, size: u32) -> Self {
        self.topics.push(TopicSpec {
            publisher,
            buffers,
            size,
        });
        self
    }

    fn with(mut self, producers: Producers, consumer: u32, size: u32) -> Self {
        self.rings.push(RingSpec {
            producers,
            consumer,
            size,
        });
        self
    }

    /// How often programs show that they live (10 ms to 60 s), and how long one may be silent before it
    /// counts as lost (at least twice that, up to an hour).
    pub fn heartbeat(mut self, interval: Duration, lost_after: Duration) -> Self {
        let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        self.heartbeat_ms = ms(interval);
        self.lost_ms = ms(lost_after);
        self
    }

    /// Milliseconds between two heartbeats, at most.
    pub(crate) fn heartbeat_ms(&self) -> u32 {
        self.heartbeat_ms
    }

    /// Number of slots.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// The ring buffers, in their order in memory.
    pub fn rings(&self) -> &[RingSpec] {
        &self.rings
    }

    /// The topics, in their order in memory, which is behind the ring buffers.
    pub fn topics(&self) -> &[TopicSpec] {
        &self.topics
    }

    /// Bytes that the channel takes.
    pub fn size(&self) -> u64 {
        let rings = self.rings.iter().map(|ring| ring.len(self.slots));
        let parts = rings.chain(self.topics.iter().map(TopicSpec::len));
        parts.fold(self.first_ring(), u64::saturating_add)
    }

    /// What a reader has to know.
    fn features(&self) -> u32 {
        let multi = |ring: &RingSpec| ring.producers == Producers::Others;
        let parts = [
            (self.rings.iter().any(multi), FEATURE_MULTI),
            (!self.topics.is_empty(), FEATURE_TOPICS),
        ];
        parts
            .iter()
            .filter(|(has, _)| *has)
            .map(|(_, bit)| bit)
            .sum()
    }

    /// Number of entries of the table.
    fn entries(&self) -> usize {
        self.rings.len() + self.topics.len()
    }

    fn table_len(&self) -> usize {
        HEADER_LEN + self.entries() * ENTRY_LEN
    }

    fn first_slot(&self) -> u64 {
        (self.table_len() as u64).next_multiple_of(BLOCK)
    }

    fn first_ring(&self) -> u64 {
        self.first_slot() + u64::from(self.slots) * BLOCK
    }

    fn check(&self, available: u64) -> Result<(), Invalid> {
        let within = |ok: bool, what| {
            if ok {
                Ok(())
            } else {
                Err(Invalid::Range(what))
            }
        };
        within((2..=MAX_SLOTS).contains(&self.slots), "the number of slots")?;
        within(
            (1..=MAX_RINGS as usize).contains(&self.entries()),
            "the number of ring buffers and topics",
        )?;
        within(HEARTBEATS.contains(&self.heartbeat_ms), "the heartbeat")?;
        within(
            self.lost_ms >= 2 * self.heartbeat_ms && self.lost_ms <= MAX_LOST_MS,
            "the time after which a program is lost",
        )?;
        let mut ends = std::collections::BTreeSet::new();
        for ring in &self.rings {
            within(
                ring.size % RING_ALIGN == 0 && RING_SIZES.contains(&ring.size),
                "the size of a ring buffer",
            )?;
            within(ring.consumer < self.slots, "the slot of a ring buffer")?;
            if let Producers::One(sender) = ring.producers {
                within(sender < self.slots, "the slot of a ring buffer")?;
            }
            for sender in ring.senders(self.slots) {
                within(sender != ring.consumer, "a ring buffer to its own sender")?;
                if !ends.insert((sender, ring.consumer)) {
                    return Err(Invalid::TwoRings);
                }
            }
        }
        for topic in &self.topics {
            let size = topic.size % RING_ALIGN == 0 && RING_SIZES.contains(&topic.size);
            within(size, "the size of a topic's values")?;
            within(BUFFERS.contains(&topic.buffers), "the buffers of a topic")?;
            within(topic.publisher < self.slots, "the slot of a topic")?;
        }
        if self.size() > available {
            return Err(Invalid::TooLarge {
                needed: self.size(),
                available,
            });
        }
        Ok(())
    }

    /// The bytes of header and table for `generation`, which is not 0.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if the layout cannot be, or takes more than `available` bytes.
    pub fn encode(&self, generation: u32, available: u64) -> Result<Vec<u8>, Invalid> {
        self.check(available)?;
        let mut bytes = vec![0; self.table_len()];
        let mut put = |at: usize, value: u32| {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        put(header::VERSION, VERSION);
        put(header::GENERATION, generation);
        put(header::FEATURES_REQUIRED, self.features());
        put(header::SLOTS, self.slots);
        // CAST: At most MAX_RINGS, as was checked.
        put(header::RINGS, self.entries() as u32);
        put(header::HEARTBEAT_MS, self.heartbeat_ms);
        put(header::LOST_MS, self.lost_ms);
        let rings = self.rings.iter().map(|ring| match ring.producers {
            Producers::One(slot) => [kind::SINGLE, slot, ring.consumer, ring.size],
            Producers::Others => [kind::MULTI, ALL_OTHERS, ring.consumer, ring.size],
        });
        let topics = self.topics.iter();
        let topics = topics.map(|topic| [kind::TOPIC, topic.publisher, topic.buffers, topic.size]);
        for (index, words) in rings.chain(topics).enumerate() {
            let at = HEADER_LEN + index * ENTRY_LEN;
            for (n, word) in words.into_iter().enumerate() {
                put(at + 4 * n, word);
            }
        }
        bytes[header::MAGIC..][..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[header::SIZE..][..8].copy_from_slice(&self.size().to_le_bytes());
        let sum = checksum(&bytes);
        bytes[header::CHECKSUM..][..4].copy_from_slice(&sum.to_le_bytes());
        Ok(bytes)
    }
}

/// FNV-1a of all bytes, with the checksum itself taken for 0. It finds what was torn or overwritten by
/// accident, not what was forged.
fn checksum(bytes: &[u8]) -> u32 {
    let field = header::CHECKSUM..header::CHECKSUM + 4;
    let step = |hash: u32, (at, byte): (usize, &u8)| {
        let byte = if field.contains(&at) { 0 } else { *byte };
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    };
    bytes.iter().enumerate().fold(0x811c_9dc5, step)
}
