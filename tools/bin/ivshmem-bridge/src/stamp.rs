// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a bridge attaches to each value: who sent it, and its number. By it the others count what was lost on the way, and
//! take nothing twice.

/// How an attachment of ours begins.
const MARK: [u8; 4] = *b"IVB1";
/// Bytes of one.
const LEN: usize = 20;
/// Of how many bridges the last number is known. If there are more, some losses are not seen.
const MOST: usize = 64;

/// Which bridge sent a value, and which one of a key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// A random number that a bridge draws when it starts.
    pub origin: u64,
    /// 1 for the first value that it sends under the key, and so on.
    pub number: u64,
}

impl Stamp {
    /// The attachment: the mark, then both numbers, little-endian.
    pub fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..4].copy_from_slice(&MARK);
        bytes[4..12].copy_from_slice(&self.origin.to_le_bytes());
        bytes[12..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    /// Of an attachment; `None` if it is somebody else's.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LEN] = bytes.try_into().ok()?;
        let number = |at: usize| {
            let field = bytes[at..].first_chunk();
            u64::from_le_bytes(*field.expect("there are as many bytes"))
        };
        (bytes[..4] == MARK).then(|| Self {
            origin: number(4),
            number: number(12),
        })
    }
}

/// What a stamp says of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is new, and so many between it and the one before it are lost.
    New(u64),
    /// It, or a later one, was here.
    Repeated,
    /// We sent it.
    Ours,
}

/// What was heard under one key.
#[derive(Debug)]
pub struct Heard {
    ours: u64,
    /// The last one of each bridge, that of the bridge heard last in front.
    last: Vec<Stamp>,
}

impl Heard {
    /// Nothing yet, by the bridge with this origin.
    pub fn new(ours: u64) -> Self {
        Self {
            ours,
            last: Vec::new(),
        }
    }

    /// What was heard last of all.
    pub fn last(&self) -> Option<Stamp> {
        self.last.first().copied()
    }

    /// Begins anew: whatever comes is new.
    pub fn forget(&mut self) {
        self.last.clear();
    }

    /// Whether a value is new, and remembers it if so.
    pub fn hear(&mut self, stamp: Stamp) -> Verdict {
        if stamp.origin == self.ours {
            return Verdict::Ours;
        }
        let known = self.last.iter().position(|l| l.origin == stamp.origin);
        let lost = match known.map(|at| self.last[at].number) {
            Some(before) if stamp.number <= before => return Verdict::Repeated,
            Some(before) => stamp.number - before - 1,
            None => 0,
        };
        match known {
            Some(at) => drop(self.last.remove(at)),
            None => self.last.truncate(MOST - 1),
        }
        self.last.insert(0, stamp);
        Verdict::New(lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(origin: u64, number: u64) -> Stamp {
        Stamp { origin, number }
    }

    #[test]
    fn an_attachment_is_read_as_it_was_written_and_no_other_is() {
        let one = stamp(0x0102_0304_0506_0708, u64::MAX - 1);
        let bytes = one.to_bytes();
        assert_eq!(Stamp::of_bytes(&bytes), Some(one));
        assert_eq!(Stamp::of_bytes(&bytes[..LEN - 1]), None);
        assert_eq!(Stamp::of_bytes(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(Stamp::of_bytes(&[]), None);
        for at in 0..MARK.len() {
            let mut other = bytes;
            other[at] ^= 1;
            assert_eq!(Stamp::of_bytes(&other), None);
        }
    }

    #[test]
    fn gaps_are_losses_of_their_own_bridge() {
        let mut heard = Heard::new(1);
        assert_eq!(heard.hear(stamp(2, 50)), Verdict::New(0));
        assert_eq!(heard.hear(stamp(3, 7)), Verdict::New(0));
        assert_eq!(heard.hear(stamp(2, 51)), Verdict::New(0));
        assert_eq!(heard.hear(stamp(2, 55)), Verdict::New(3));
        assert_eq!(heard.hear(stamp(3, 8)), Verdict::New(0));
        assert_eq!(heard.last(), Some(stamp(3, 8)));
        assert_eq!(heard.hear(stamp(2, u64::MAX)), Verdict::New(u64::MAX - 56));
    }

    #[test]
    fn nothing_is_taken_twice_nor_from_oneself() {
        let mut heard = Heard::new(1);
        assert_eq!(heard.hear(stamp(1, 1)), Verdict::Ours);
        assert_eq!(heard.hear(stamp(2, 2)), Verdict::New(0));
        assert_eq!(heard.hear(stamp(2, 2)), Verdict::Repeated);
        assert_eq!(heard.hear(stamp(2, 1)), Verdict::Repeated);
        heard.forget();
        assert_eq!(heard.hear(stamp(2, 2)), Verdict::New(0));
    }

    #[test]
    fn strangers_without_end_take_no_memory_without_end() {
        let mut heard = Heard::new(0);
        for origin in 1..=10 * MOST as u64 {
            heard.hear(stamp(origin, 1));
            assert_eq!(heard.hear(stamp(origin, 3)), Verdict::New(1));
        }
        assert_eq!(heard.last.len(), MOST);
    }
}
