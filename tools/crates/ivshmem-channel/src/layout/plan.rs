// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Reads the header and the table of a channel, believing nothing, and finds its parts.

use std::time::Duration;

use super::{checksum, header, kind, Invalid, Layout, Producers, RingSpec, Stage, TopicSpec};
use super::{ALL_OTHERS, BLOCK, ENTRY_LEN, HEADER_LEN, MAX_RINGS, VERSION};
use super::{FEATURE_MULTI, FEATURE_TOPICS};
use crate::ring::{Lane, Place};
use crate::topic::Topic;

/// A channel that was found, with the places of its parts. All of it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    layout: Layout,
    generation: u32,
    /// Byte offset in the channel of each ring's block.
    rings: Vec<u64>,
    /// And of each topic's.
    topics: Vec<u64>,
}

impl Plan {
    /// How many bytes of header and table there are, by the header alone: what to read before
    /// [`decode`](Self::decode).
    ///
    /// # Errors
    ///
    /// [`Invalid`] if this is no channel that can be read.
    pub fn table_len(head: &[u8; HEADER_LEN]) -> Result<usize, Invalid> {
        match Stage::of(long(head, header::MAGIC)) {
            Stage::MADE => {}
            other if other.is_marked() => return Err(Invalid::Unfinished),
            _ => return Err(Invalid::Magic),
        }
        match word(head, header::VERSION) {
            VERSION => {}
            other => return Err(Invalid::Version(other)),
        }
        if word(head, header::GENERATION) == 0 {
            return Err(Invalid::Unfinished);
        }
        match word(head, header::FEATURES_REQUIRED) & !(FEATURE_MULTI | FEATURE_TOPICS) {
            0 => {}
            unknown => return Err(Invalid::Features(unknown)),
        }
        let rings = word(head, header::RINGS);
        if !(1..=MAX_RINGS).contains(&rings) {
            return Err(Invalid::Range("the number of ring buffers and topics"));
        }
        // CAST: At most MAX_RINGS.
        Ok(HEADER_LEN + rings as usize * ENTRY_LEN)
    }

    /// Reads header and table of a channel for which there are `available` bytes.
    ///
    /// # Errors
    ///
    /// [`Invalid`] says what is wrong with them.
    pub fn decode(bytes: &[u8], available: u64) -> Result<Self, Invalid> {
        let head = bytes.first_chunk().ok_or(Invalid::Unfinished)?;
        let len = Self::table_len(head)?;
        let bytes = bytes.get(..len).ok_or(Invalid::Unfinished)?;
        if word(bytes, header::CHECKSUM) != checksum(bytes) {
            return Err(Invalid::Checksum);
        }
        let entries: Vec<_> = bytes[HEADER_LEN..].chunks_exact(ENTRY_LEN).collect();
        // Topics come last: one among the rings is a ring of no known kind.
        let is_topic = |entry: &&[u8]| word(entry, 0) == kind::TOPIC;
        let rings = entries.len() - entries.iter().rev().copied().take_while(is_topic).count();
        let (rings, topics) = entries.split_at(rings);
        let rings: Result<Vec<_>, _> = rings.iter().copied().map(ring_spec).collect();
        let layout = Layout {
            slots: word(bytes, header::SLOTS),
            rings: rings?,
            topics: topics.iter().copied().map(topic_spec).collect(),
            heartbeat_ms: word(bytes, header::HEARTBEAT_MS),
            lost_ms: word(bytes, header::LOST_MS),
        };
        layout.check(available)?;
        if long(bytes, header::SIZE) != layout.size() {
            return Err(Invalid::Range("the size of the channel"));
        }
        if word(bytes, header::FEATURES_REQUIRED) != layout.features() {
            return Err(Invalid::Range("the required features"));
        }
        Ok(Self::of(layout, word(bytes, header::GENERATION)))
    }

    fn of(layout: Layout, generation: u32) -> Self {
        let mut next = layout.first_ring();
        let mut place = |len| {
            let at = next;
            next += len;
            at
        };
        let rings = layout.rings.iter();
        let rings = rings.map(|ring| place(ring.len(layout.slots))).collect();
        let topics = layout.topics.iter();
        let topics = topics.map(|topic| place(topic.len())).collect();
        Self {
            rings,
            topics,
            layout,
            generation,
        }
    }

    /// The shape of the channel.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Another number each time that the channel is made; not 0.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Byte offset of slot `slot` in the channel, `None` if there is no such slot.
    pub(crate) fn slot(&self, slot: u32) -> Option<u64> {
        (slot < self.layout.slots).then(|| self.layout.first_slot() + u64::from(slot) * BLOCK)
    }

    /// The index of the ring from one slot to another, and where the sender's part of it is in a memory in
    /// which the channel begins at `base`.
    pub(crate) fn find(&self, base: u64, producer: u32, consumer: u32) -> Option<(usize, Place)> {
        let rings = self.layout.rings.iter().enumerate();
        let mut to = rings.filter(|(_, ring)| ring.consumer == consumer);
        to.find_map(|(index, _)| {
            let mut lanes = self.lanes(base, index);
            let (_, place) = lanes.find(|(sender, _)| *sender == producer)?;
            Some((index, place))
        })
    }

    /// The index of the ring with several senders to a slot.
    pub(crate) fn find_multi(&self, consumer: u32) -> Option<usize> {
        let wanted = (Producers::Others, consumer);
        let is = |ring: &RingSpec| (ring.producers, ring.consumer) == wanted;
        self.layout.rings.iter().position(is)
    }

    /// The senders of ring `index`, and where the part of each is.
    pub(crate) fn lanes(&self, base: u64, index: usize) -> impl Iterator<Item = (u32, Place)> {
        let ring = self.layout.rings[index];
        let generation = self.generation;
        let at = base + self.rings[index];
        let several = ring.producers == Producers::Others;
        let first = at + if several { BLOCK } else { 0 };
        let place = move |number: u32| Place {
            offset: first + u64::from(number) * ring.lane_len(),
            size: ring.size,
            generation,
            lane: several.then_some(Lane { shared: at, number }),
        };
        ring.senders(self.layout.slots).zip((0..).map(place))
    }

    /// The sender's parts of all rings from a slot.
    pub(crate) fn lanes_of(&self, base: u64, producer: u32) -> impl Iterator<Item = Place> + '_ {
        let rings = 0..self.layout.rings.len();
        let lanes = rings.flat_map(move |index| self.lanes(base, index));
        lanes.filter_map(move |(sender, place)| (sender == producer).then_some(place))
    }

    /// Topic `number` in a memory in which the channel begins at `base`, with the slot that publishes.
    pub(crate) fn topic(&self, base: u64, number: usize) -> Option<(u32, Topic)> {
        let spec = self.layout.topics.get(number)?;
        let topic = Topic {
            offset: base + self.topics[number],
            buffers: spec.buffers,
            size: spec.size,
            generation: self.generation,
        };
        Some((spec.publisher, topic))
    }

    /// All topics that a slot publishes.
    pub(crate) fn topics_of(&self, base: u64, slot: u32) -> impl Iterator<Item = Topic> + '_ {
        let topics = (0..self.topics.len()).filter_map(move |number| self.topic(base, number));
        topics.filter_map(move |(publisher, topic)| (publisher == slot).then_some(topic))
    }

    /// How often each program has to show that it lives, at least: [`Member::beat`](crate::Member::beat).
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.layout.heartbeat_ms.into())
    }

    pub(crate) fn lost_after(&self) -> Duration {
        Duration::from_millis(self.layout.lost_ms.into())
    }
}

fn ring_spec(entry: &[u8]) -> Result<RingSpec, Invalid> {
    let producers = match (word(entry, 0), word(entry, 4)) {
        (kind::SINGLE, slot) => Producers::One(slot),
        (kind::MULTI, ALL_OTHERS) => Producers::Others,
        (kind::MULTI, _) => return Err(Invalid::Range("who sends into a ring buffer")),
        _ => return Err(Invalid::Range("the kind of a ring buffer")),
    };
    Ok(RingSpec {
        producers,
        consumer: word(entry, 8),
        size: word(entry, 12),
    })
}

fn topic_spec(entry: &[u8]) -> TopicSpec {
    TopicSpec {
        publisher: word(entry, 4),
        buffers: word(entry, 8),
        size: word(entry, 12),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
