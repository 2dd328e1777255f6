// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The number by which clients know each other.

use core::fmt;

/// Highest ID that a client can have: the doorbell register holds 16 bits of it.
pub const MAX_PEER_ID: u16 = u16::MAX;

/// Most vectors that one client can have: the doorbell register holds 16 bits of the vector.
pub const MAX_VECTORS: u32 = 1 << 16;

/// ID of a client, 0 to [`MAX_PEER_ID`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct PeerId(u16);

impl PeerId {
    /// The ID as a plain number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The ID that a number on the wire stands for, `None` if it is not in the valid range.
    pub fn from_wire(value: i64) -> Option<Self> {
        u16::try_from(value).ok().map(Self)
    }
}

impl From<u16> for PeerId {
    fn from(id: u16) -> Self {
        Self(id)
    }
}

impl From<PeerId> for i64 {
    fn from(id: PeerId) -> Self {
        Self::from(id.0)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sixteen_bit_numbers_are_ids() {
        assert_eq!(PeerId::from_wire(0), Some(PeerId(0)));
        assert_eq!(
            PeerId::from_wire(i64::from(MAX_PEER_ID)),
            Some(PeerId(MAX_PEER_ID))
        );
        for value in [-1, i64::from(MAX_PEER_ID) + 1, i64::MIN, i64::MAX] {
            assert_eq!(PeerId::from_wire(value), None, "{value}");
        }
    }
}
