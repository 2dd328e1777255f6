// SPDX-License-Identifier: GPL-2.0

//! How CPUs cache accesses to memory.

use kernel::{
    ffi::c_uint,
    mm::virt::VmaNew, //
};

use super::helpers;

/// A cache type. The numbers are those of `helpers.c`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Cache {
    /// Write-back: cached.
    WriteBack = 1,
    /// Writes are combined, reads are not cached.
    WriteCombining = 2,
    /// Neither reads nor writes are cached. Elsewhere than on x86 this is for registers only.
    Uncached = 3,
}

impl Cache {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WriteBack => "write-back",
            Self::WriteCombining => "write-combining",
            Self::Uncached => "uncached",
        }
    }

    /// For programs.
    pub(crate) fn short_name(self) -> &'static str {
        match self {
            Self::WriteBack => "wb",
            Self::WriteCombining => "wc",
            Self::Uncached => "uc",
        }
    }

    /// Whether this machine has it for memory.
    pub(crate) fn is_available(self) -> bool {
        helpers::ivshmem_has_cache(self.number())
    }

    /// Gives the page table entries of `vma` this type, and makes them visible to the host where
    /// the guest's memory is encrypted.
    pub(super) fn apply(self, vma: &VmaNew) {
        // SAFETY: A `VmaNew` is an area that is being set up and seen by this thread only.
        unsafe { helpers::ivshmem_set_cache(vma.as_ptr(), self.number()) };
    }

    fn number(self) -> c_uint {
        // CAST: A fieldless enum.
        self as c_uint
    }
}
