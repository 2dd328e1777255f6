// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What stands behind BAR2.

use alloc::vec::Vec;

/// The shared memory of a region, as bytes.
///
/// Every offset and length that the model passes lies within [`Memory::len`].
pub trait Memory {
    /// Size in bytes; it never changes.
    fn len(&self) -> u64;

    /// Fills `bytes` with what is at `offset`.
    fn read(&self, offset: u64, bytes: &mut [u8]);

    /// Stores `bytes` at `offset`.
    fn write(&mut self, offset: u64, bytes: &[u8]);

    /// Whether there is no memory at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Memory for Vec<u8> {
    fn len(&self) -> u64 {
        // CAST: `usize` is at most 64 bits wide.
        Vec::len(self) as u64
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) {
        // CAST: Within the length of a vector, by the trait's contract.
        let offset = offset as usize;
        bytes.copy_from_slice(&self[offset..offset + bytes.len()]);
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        // CAST: As above.
        let offset = offset as usize;
        self[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}
