// SPDX-License-Identifier: GPL-2.0

//! The kernel's own look at device memory, one word at a time.

use core::ptr::NonNull;

use kernel::prelude::*;

use super::helpers;

/// Whether `offset` is that of a 32-bit word in `size` bytes: a multiple of 4 below the size.
pub(super) fn is_word(offset: u64, size: u64) -> bool {
    offset % 4 == 0 && offset < size
}

/// The kernel's own view of the memory.
///
/// # Invariants
///
/// `size` bytes at `start` are mapped memory of the device while this object is not revoked.
pub(super) struct View {
    start: NonNull<c_void>,
    size: u64,
}

// SAFETY: The mapping belongs to no thread.
unsafe impl Send for View {}

// SAFETY: The only access is a volatile read.
unsafe impl Sync for View {}

impl View {
    /// # Safety
    ///
    /// `size` bytes at `start` must be mapped memory of a device until this object is revoked.
    pub(super) unsafe fn new(start: NonNull<c_void>, size: u64) -> Self {
        // INVARIANT: The precondition is the invariant.
        Self { start, size }
    }

    /// Reads the 32-bit word at `offset`, in the CPU's byte order, or `None` if `offset` is not a
    /// multiple of 4 below the size. Any context.
    pub(super) fn word(&self, offset: u64) -> Option<u32> {
        if !is_word(offset, self.size) {
            return None;
        }
        let (index, words) = (offset / 4, self.size / 4);
        // A program chooses the offset and can measure what depends on the word: no speculation
        // past the end. CAST: The mapping's size fits into `usize`.
        let index = helpers::ivshmem_array_index_nospec(index as usize, words as usize);
        // SAFETY: Within the mapping, as was checked.
        let word = unsafe { self.start.cast::<u32>().add(index) };
        // SAFETY: The word is mapped and aligned. Another machine may write it at any time, which a
        // volatile read of one word tolerates.
        Some(unsafe { word.read_volatile() })
    }
}
