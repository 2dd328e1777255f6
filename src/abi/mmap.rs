// SPDX-License-Identifier: GPL-2.0 OR MIT

//! File offsets of `mmap`: `(region << REGION_SHIFT) | byte offset`.

/// Position of the region number in a file offset.
pub const REGION_SHIFT: u32 = 40;

/// The part of the device that a mapping shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Region {
    /// The shared memory, BAR2.
    Memory = 0,
    /// The event page, which begins with an [`super::events::EventPage`], read-only.
    Events = 1,
    /// The register page, BAR0.
    Registers = 2,
}

impl Region {
    /// The file offset of byte `offset` of the region; `offset` is below `1 << REGION_SHIFT`.
    pub const fn file_offset(self, offset: u64) -> u64 {
        // CAST: A fieldless enum with explicit values below 3.
        ((self as u64) << REGION_SHIFT) | offset
    }
}

/// A range of bytes within a region.
///
/// # Invariants
///
/// `offset + len` does not overflow and does not pass the next region's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionRange {
    region: Region,
    offset: u64,
    len: u64,
}

impl RegionRange {
    /// The range of `len` bytes at file offset `pgoff << page_shift`, or `None` if there is no
    /// such region or the range is empty or leaves its region's part of the offset space.
    pub const fn new(pgoff: u64, len: u64, page_shift: u32) -> Option<Self> {
        if pgoff > (u64::MAX >> page_shift) {
            return None;
        }
        let start = pgoff << page_shift;
        let region = match start >> REGION_SHIFT {
            0 => Region::Memory,
            1 => Region::Events,
            2 => Region::Registers,
            _ => return None,
        };
        let offset = start & ((1 << REGION_SHIFT) - 1);
        match offset.checked_add(len) {
            // INVARIANT: Checked by this arm's guard.
            Some(end) if len > 0 && end <= 1 << REGION_SHIFT => Some(Self {
                region,
                offset,
                len,
            }),
            _ => None,
        }
    }

    /// The region.
    pub const fn region(self) -> Region {
        self.region
    }

    /// First byte within the region.
    pub const fn offset(self) -> u64 {
        self.offset
    }

    /// Whether all of it lies within the first `size` bytes of its region.
    pub const fn fits(self, size: u64) -> bool {
        self.offset + self.len <= size
    }
}
