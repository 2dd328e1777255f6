// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How many bytes one access moves, and how a bus cuts an access into aligned ones.

/// The number of bytes that one access moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Width {
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes, the width of the device's registers.
    U32,
    /// Eight bytes.
    U64,
}

impl Width {
    /// All widths, the narrowest first.
    pub const ALL: [Self; 4] = [Self::U8, Self::U16, Self::U32, Self::U64];

    /// The width of this many bytes: 1, 2, 4 or 8.
    pub const fn from_bytes(bytes: usize) -> Option<Self> {
        match bytes {
            1 => Some(Self::U8),
            2 => Some(Self::U16),
            4 => Some(Self::U32),
            8 => Some(Self::U64),
            _ => None,
        }
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 => 4,
            Self::U64 => 8,
        }
    }

    /// The value whose bits are all 1: what a read gives where nothing answers.
    pub const fn ones(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes())
    }

    /// Whether `offset` is a multiple of the width.
    pub const fn aligned(self, offset: u64) -> bool {
        offset % self.bytes() == 0
    }

    /// The widest access of at most `limit` that starts at `offset` and moves no more than `bytes`
    /// (at least 1) bytes.
    const fn fitting(offset: u64, bytes: u64, limit: Self) -> Self {
        let mut width = limit;
        while width.bytes() > bytes || !width.aligned(offset) {
            width = match width {
                Self::U64 => Self::U32,
                Self::U32 => Self::U16,
                _ => return Self::U8,
            };
        }
        width
    }
}

/// One part of an access that was cut up: where, how wide, and its place in the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub offset: u64,
    pub width: Width,
    pub shift: u64,
}

/// Cuts an access into naturally aligned ones of at most `limit`, lowest address first, as QEMU's memory
/// core does before it calls a device (`flatview_read_continue`, `memory_access_size`).
pub(crate) fn pieces(offset: u64, width: Width, limit: Width) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let left = width.bytes() - done;
        if left == 0 {
            return None;
        }
        let piece = Piece {
            offset: offset + done,
            width: Width::fitting(offset + done, left, limit),
            shift: done * 8,
        };
        done += piece.width.bytes();
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn cut(offset: u64, width: Width, limit: Width) -> Vec<(u64, u64)> {
        let pieces = pieces(offset, width, limit);
        pieces.map(|p| (p.offset, p.width.bytes())).collect()
    }

    #[test]
    fn ones_fill_the_width() {
        let ones = Width::ALL.map(Width::ones);
        assert_eq!(ones, [0xff, 0xffff, 0xffff_ffff, u64::MAX]);
    }

    #[test]
    fn aligned_accesses_stay_whole_up_to_the_limit() {
        assert_eq!(cut(4, Width::U32, Width::U32), vec![(4, 4)]);
        assert_eq!(cut(8, Width::U64, Width::U32), vec![(8, 4), (12, 4)]);
        assert_eq!(cut(8, Width::U64, Width::U64), vec![(8, 8)]);
    }

    #[test]
    fn unaligned_accesses_are_cut_at_their_alignment() {
        assert_eq!(cut(1, Width::U32, Width::U32), vec![(1, 1), (2, 2), (4, 1)]);
        assert_eq!(cut(6, Width::U32, Width::U32), vec![(6, 2), (8, 2)]);
        assert_eq!(
            cut(3, Width::U64, Width::U64),
            vec![(3, 1), (4, 4), (8, 2), (10, 1)]
        );
    }
}
