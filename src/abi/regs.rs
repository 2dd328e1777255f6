// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Registers in BAR0, all 32 bits wide and little-endian.
//!
//! Source: QEMU's `docs/specs/ivshmem-spec.rst`, section "Device registers".

/// Interrupt mask: without effect in revision 1 of the device.
pub const INTR_MASK: usize = 0x0;

/// Interrupt status: without effect in revision 1; a read clears it.
pub const INTR_STATUS: usize = 0x4;

/// The peer ID of this end, read-only; 0 is a real peer's ID.
pub const IV_POSITION: usize = 0x8;

/// The doorbell, write-only: see [`Doorbell`].
pub const DOORBELL: usize = 0xc;

/// First byte after the registers.
pub const END: usize = 0x10;

/// Largest peer ID that the doorbell can name.
pub const MAX_PEER: u32 = 0xffff;

/// Largest vector that may be rung.
///
/// The register has 16 bits for it, but QEMU's emulated path looks at the low 8 bits only and would
/// ring another vector than the one that was asked for.
pub const MAX_RING_VECTOR: u32 = 0xff;

/// A value for the doorbell register: which peer, which of its vectors.
///
/// # Invariants
///
/// The upper half is a peer ID of at most [`MAX_PEER`], the lower half a vector of at most
/// [`MAX_RING_VECTOR`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doorbell(u32);

impl Doorbell {
    /// The doorbell of vector `vector` of peer `peer`, or `None` if one of them is out of range.
    pub const fn new(peer: u32, vector: u32) -> Option<Self> {
        if peer > MAX_PEER || vector > MAX_RING_VECTOR {
            return None;
        }
        // INVARIANT: Both were checked above.
        Some(Self((peer << 16) | vector))
    }

    /// The peer.
    pub const fn peer(self) -> u32 {
        self.0 >> 16
    }

    /// The vector.
    pub const fn vector(self) -> u32 {
        self.0 & 0xffff
    }

    /// The value to write to the register at [`DOORBELL`], in CPU byte order.
    pub const fn bits(self) -> u32 {
        self.0
    }
}
