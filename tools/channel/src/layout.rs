// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The shape of a channel, and its bytes. `Documentation/channel.rst` describes them.

use std::time::Duration;

/// The first eight bytes of a channel: `IVSHCHAN`.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"IVSHCHAN");
/// The only version of the layout there is.
pub(crate) const VERSION: u32 = 1;
/// Features that a reader has to know. None are defined.
pub(crate) const KNOWN_FEATURES: u32 = 0;

/// Most slots of a channel.
pub const MAX_SLOTS: u32 = 64;
/// Most rings of a channel.
pub const MAX_RINGS: u32 = 4096;

/// What areas begin at multiples of.
pub(crate) const BASE_ALIGN: u64 = 4096;
/// Length of the header; the table of rings follows it.
pub(crate) const HEADER_LEN: usize = 128;
/// Length of an entry of the table of rings.
pub(crate) const ENTRY_LEN: usize = 16;
/// Length of a slot, and of what precedes each ring's data; slots and rings begin at multiples of it.
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

/// Where the fields of a slot are.
pub(crate) mod slot {
    pub const GENERATION: u64 = 0;
    pub const INCARNATION: u64 = 4;
    pub const STATE: u64 = 8;
    pub const HEARTBEAT: u64 = 12;
    pub const PEER_ID: u64 = 16;
    pub const VECTOR: u64 = 20;
}

/// Smallest and largest size of a ring's data in bytes.
const RING_SIZES: std::ops::RangeInclusive<u32> = 64..=1 << 30;
/// Range of the heartbeat in milliseconds.
const HEARTBEATS: std::ops::RangeInclusive<u32> = 10..=60_000;
/// The longest time in milliseconds after which a silent program counts as lost.
const MAX_LOST_MS: u32 = 3_600_000;

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
    /// Two rings have the same ends.
    #[error("two rings go from one slot to the same other")]
    TwoRings,
}

/// The only kind of ring there is: one sender, one receiver.
const KIND: u32 = 1;

/// A ring of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSpec {
    /// The slot that sends.
    pub producer: u32,
    /// The slot that receives.
    pub consumer: u32,
    /// Bytes of data that it holds: a power of two of 64 to 2³⁰. Its longest message has half of it less 8.
    pub size: u32,
}

/// The shape of a channel: who can take part, and which rings there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    slots: u32,
    rings: Vec<RingSpec>,
    heartbeat_ms: u32,
    lost_ms: u32,
}

impl Layout {
    /// `slots` programs, 2 to [`MAX_SLOTS`], without any rings yet. They show that they live twice in a
    /// second, and count as lost after 3 silent seconds.
    pub fn new(slots: u32) -> Self {
        Self {
            slots,
            rings: Vec::new(),
            heartbeat_ms: 500,
            lost_ms: 3000,
        }
    }

    /// Two programs, and a ring of `size` bytes each way.
    pub fn duplex(size: u32) -> Self {
        Self::new(2).ring(0, 1, size).ring(1, 0, size)
    }

    /// Adds a ring of `size` bytes from one slot to another.
    pub fn ring(mut self, producer: u32, consumer: u32, size: u32) -> Self {
        self.rings.push(RingSpec {
            producer,
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

    /// Number of slots.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// The rings, in their order in memory.
    pub fn rings(&self) -> &[RingSpec] {
        &self.rings
    }

    /// Bytes that the channel takes.
    pub fn size(&self) -> u64 {
        let rings = self.rings.iter();
        self.first_ring() + rings.map(|ring| BLOCK + u64::from(ring.size)).sum::<u64>()
    }

    fn table_len(&self) -> usize {
        HEADER_LEN + self.rings.len() * ENTRY_LEN
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
            (1..=MAX_RINGS as usize).contains(&self.rings.len()),
            "the number of rings",
        )?;
        within(HEARTBEATS.contains(&self.heartbeat_ms), "the heartbeat")?;
        within(
            self.lost_ms >= 2 * self.heartbeat_ms && self.lost_ms <= MAX_LOST_MS,
            "the time after which a program is lost",
        )?;
        let mut ends = std::collections::BTreeSet::new();
        for ring in &self.rings {
            within(
                ring.size.is_power_of_two() && RING_SIZES.contains(&ring.size),
                "the size of a ring",
            )?;
            within(
                ring.producer < self.slots && ring.consumer < self.slots,
                "the slot of a ring",
            )?;
            within(ring.producer != ring.consumer, "a ring to its own sender")?;
            if !ends.insert((ring.producer, ring.consumer)) {
                return Err(Invalid::TwoRings);
            }
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
        put(header::SLOTS, self.slots);
        // CAST: At most MAX_RINGS, as was checked.
        put(header::RINGS, self.rings.len() as u32);
        put(header::HEARTBEAT_MS, self.heartbeat_ms);
        put(header::LOST_MS, self.lost_ms);
        for (index, ring) in self.rings.iter().enumerate() {
            let at = HEADER_LEN + index * ENTRY_LEN;
            let words = [KIND, ring.producer, ring.consumer, ring.size];
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

/// A channel that was found, with the places of its parts. All of it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    layout: Layout,
    generation: u32,
    /// Byte offset in the channel of each ring's block.
    rings: Vec<u64>,
}

impl Plan {
    /// How many bytes of header and table there are, by the header alone: what to read before
    /// [`decode`](Self::decode).
    ///
    /// # Errors
    ///
    /// [`Invalid`] if this is no channel that can be read.
    pub fn table_len(head: &[u8; HEADER_LEN]) -> Result<usize, Invalid> {
        if long(head, header::MAGIC) != MAGIC {
            return Err(Invalid::Magic);
        }
        match word(head, header::VERSION) {
            VERSION => {}
            other => return Err(Invalid::Version(other)),
        }
        if word(head, header::GENERATION) == 0 {
            return Err(Invalid::Unfinished);
        }
        match word(head, header::FEATURES_REQUIRED) & !KNOWN_FEATURES {
            0 => {}
            unknown => return Err(Invalid::Features(unknown)),
        }
        let rings = word(head, header::RINGS);
        if !(1..=MAX_RINGS).contains(&rings) {
            return Err(Invalid::Range("the number of rings"));
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
        let rings = bytes[HEADER_LEN..].chunks_exact(ENTRY_LEN);
        let rings: Result<Vec<_>, _> = rings.map(ring_spec).collect();
        let layout = Layout {
            slots: word(bytes, header::SLOTS),
            rings: rings?,
            heartbeat_ms: word(bytes, header::HEARTBEAT_MS),
            lost_ms: word(bytes, header::LOST_MS),
        };
        layout.check(available)?;
        if long(bytes, header::SIZE) != layout.size() {
            return Err(Invalid::Range("the size of the channel"));
        }
        Ok(Self::of(layout, word(bytes, header::GENERATION)))
    }

    fn of(layout: Layout, generation: u32) -> Self {
        let mut next = layout.first_ring();
        let place = |ring: &RingSpec| {
            let at = next;
            next += BLOCK + u64::from(ring.size);
            at
        };
        Self {
            rings: layout.rings.iter().map(place).collect(),
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

    /// The index of a ring, and its byte offset in the channel.
    pub(crate) fn find(&self, producer: u32, consumer: u32) -> Option<(usize, u64)> {
        let is = |ring: &RingSpec| (ring.producer, ring.consumer) == (producer, consumer);
        let index = self.layout.rings.iter().position(is)?;
        Some((index, self.rings[index]))
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.layout.heartbeat_ms.into())
    }

    pub(crate) fn lost_after(&self) -> Duration {
        Duration::from_millis(self.layout.lost_ms.into())
    }
}

fn ring_spec(entry: &[u8]) -> Result<RingSpec, Invalid> {
    if word(entry, 0) != KIND {
        return Err(Invalid::Range("the kind of a ring"));
    }
    Ok(RingSpec {
        producer: word(entry, 4),
        consumer: word(entry, 8),
        size: word(entry, 12),
    })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
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
