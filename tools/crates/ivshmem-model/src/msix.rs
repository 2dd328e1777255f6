// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The MSI-X table and the pending bits, as storage. What an access or a ring does is the flavour's.

use alloc::vec;
use alloc::vec::Vec;

use crate::config::{offset, Config, MSIX_ENABLE, MSIX_FUNCTION_MASK};

/// Bytes of one table entry: address (8), data (4), vector control (4).
pub(crate) const ENTRY: u64 = 16;

/// The one bit of an entry's vector control.
const ENTRY_MASKED: u32 = 1;

/// An MSI-X message: the device writes `data` to `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Guest physical address.
    pub address: u64,
    /// The 32 bits to write, little-endian.
    pub data: u32,
}

/// Table and pending bits of one function.
#[derive(Clone, Debug)]
pub struct Msix {
    table: Vec<u32>,
    pending: Vec<u32>,
    pba: u64,
}

impl Msix {
    /// All entries masked, nothing pending; the pending bits start at `pba` of BAR1.
    pub(crate) fn new(vectors: u16, pba: u32) -> Self {
        let mut msix = Self {
            table: vec![0; usize::from(vectors) * 4],
            // The pending bits come in units of 64.
            pending: vec![0; usize::from(vectors).div_ceil(64) * 2],
            pba: u64::from(pba),
        };
        msix.reset();
        msix
    }

    pub(crate) fn reset(&mut self) {
        self.pending.fill(0);
        for entry in self.table.chunks_mut(4) {
            entry.copy_from_slice(&[0, 0, 0, ENTRY_MASKED]);
        }
    }

    /// Number of vectors.
    pub fn vectors(&self) -> u16 {
        // CAST: The table was made for a `u16` number of entries.
        (self.table.len() / 4) as u16
    }

    /// The word of the table at this offset of BAR1, if there is one.
    pub(crate) fn table_word(&mut self, offset: u64) -> Option<&mut u32> {
        self.table.get_mut(usize::try_from(offset / 4).ok()?)
    }

    /// The word of the pending bits at this offset of BAR1, if there is one.
    pub(crate) fn pending_word(&self, offset: u64) -> Option<u32> {
        let at = offset.checked_sub(self.pba)? / 4;
        self.pending.get(usize::try_from(at).ok()?).copied()
    }

    /// Whether the vector's own mask bit is set.
    ///
    /// # Panics
    ///
    /// If there is no such vector.
    pub fn entry_masked(&self, vector: u16) -> bool {
        self.table[usize::from(vector) * 4 + 3] & ENTRY_MASKED != 0
    }

    /// Whether the vector has a pending interrupt.
    ///
    /// # Panics
    ///
    /// If there is no such vector, which is only noticed 64 at a time.
    pub fn is_pending(&self, vector: u16) -> bool {
        self.pending[usize::from(vector) / 32] & (1 << (vector % 32)) != 0
    }

    pub(crate) fn set_pending(&mut self, vector: u16, pending: bool) {
        let word = &mut self.pending[usize::from(vector) / 32];
        *word = *word & !(1 << (vector % 32)) | u32::from(pending) << (vector % 32);
    }

    /// The message of the vector.
    ///
    /// # Panics
    ///
    /// If there is no such vector.
    pub fn message(&self, vector: u16) -> Message {
        let entry = usize::from(vector) * 4;
        Message {
            address: u64::from(self.table[entry + 1]) << 32 | u64::from(self.table[entry]),
            data: self.table[entry + 2],
        }
    }
}

/// Whether MSI-X is on.
pub(crate) fn enabled(config: &Config) -> bool {
    config.u16(offset::MSIX_CONTROL) & MSIX_ENABLE != 0
}

/// Whether MSI-X is on and not masked as a whole.
pub(crate) fn unmasked(config: &Config) -> bool {
    config.u16(offset::MSIX_CONTROL) & (MSIX_ENABLE | MSIX_FUNCTION_MASK) == MSIX_ENABLE
}
