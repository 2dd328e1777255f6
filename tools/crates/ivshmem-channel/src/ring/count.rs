// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Counts of bytes, which begin again at a multiple of the ring's size.

/// What a record's place in the data is a multiple of; also the length of its header.
pub(crate) const RECORD: u32 = 8;

/// The count for which to be woken while there is none: no count is as large.
pub(crate) const NEVER: u32 = u32::MAX;

/// The counts of one ring: 0 to below the largest multiple of its size that has 32 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    size: u32,
    end: u32,
}

/// A count with its place in the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub count: u32,
    pub at: u32,
}

impl Counts {
    #[inline]
    pub fn of(size: u32) -> Self {
        let end = u32::MAX - u32::MAX % size;
        Self { size, end }
    }

    /// Where `count` is, if it is one of a record.
    pub fn cursor(&self, count: u32) -> Option<Cursor> {
        let at = count % self.size;
        (count < self.end && count % RECORD == 0).then_some(Cursor { count, at })
    }

    /// `from` and `bytes` more, at most `size`.
    #[inline]
    pub fn after(&self, from: Cursor, bytes: u32) -> Cursor {
        let mut at = from.at + bytes;
        if at >= self.size {
            at -= self.size;
        }
        let count = self.add(from.count, bytes);
        Cursor { count, at }
    }

    /// `count` and `bytes` more, at most `end`.
    #[inline]
    pub fn add(&self, count: u32, bytes: u32) -> u32 {
        let left = self.end - count;
        match bytes < left {
            true => count + bytes,
            false => bytes - left,
        }
    }

    /// How far it is from `from` forward to `to`.
    #[inline]
    pub fn distance(&self, from: u32, to: u32) -> u32 {
        match to >= from {
            true => to - from,
            false => self.end - from + to,
        }
    }

    /// Whether a count that went from `old` to `new` passed `wake`, which can be any number.
    #[inline]
    pub fn passed(&self, wake: u32, old: u32, new: u32) -> bool {
        wake < self.end && self.distance(wake, new).wrapping_sub(1) < self.distance(old, new)
    }

    /// The last count that a head need not pass for `bytes` more after `next` to be free.
    pub fn wake_for(&self, next: u32, bytes: u32) -> u32 {
        // `next` + `bytes` - `size` is the head that makes room for them; it may be before 0.
        let back = self.size - bytes + 1;
        match next >= back {
            true => next - back,
            false => self.end - (back - next),
        }
    }

    /// Bytes forward from place `from` to place `to`.
    #[inline]
    pub fn forward(&self, from: u32, to: u32) -> u32 {
        match to >= from {
            true => to - from,
            false => self.size - from + to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_begin_again() {
        for size in [64, 192, 4096, 1 << 30] {
            let counts = Counts::of(size);
            assert!(counts.end % size == 0 && counts.end > u32::MAX - size);
            let last = counts.cursor(counts.end - 8).unwrap();
            assert_eq!(counts.after(last, 8), Cursor { count: 0, at: 0 });
            assert_eq!(counts.distance(counts.end - 8, 16), 24);
            assert_eq!(counts.cursor(counts.end), None);
        }
        assert_eq!(Counts::of(64).cursor(4), None);
    }

    #[test]
    fn a_count_passes_another() {
        let counts = Counts::of(192);
        for wake in 8..24 {
            assert!(counts.passed(wake, 8, 24), "{wake}");
        }
        for wake in [0, 7, 24, 25, counts.end, NEVER] {
            assert!(!counts.passed(wake, 8, 24), "{wake}");
        }
        // Over the end.
        let old = counts.end - 8;
        assert!(counts.passed(old, old, 8));
        assert!(counts.passed(0, old, 8));
        assert!(!counts.passed(8, old, 8));
        // Nothing is passed by standing still.
        assert!(!counts.passed(8, 8, 8));
    }

    #[test]
    fn room_is_told_by_the_count_that_makes_it() {
        let counts = Counts::of(192);
        // 160 bytes after 64 need a head of 32: 24 is too little.
        let wake = counts.wake_for(64, 160);
        assert!(!counts.passed(wake, 0, 24) && counts.passed(wake, 24, 32));
        // In a ring that never was full it is there from the start.
        assert!(!counts.passed(counts.wake_for(0, 100), 0, 0));
    }
}
