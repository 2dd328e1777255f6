// SPDX-License-Identifier: GPL-2.0

//! Memory of a device that is claimed, mapped into the kernel, and can be mapped by programs.
//!
//! On x86 the kernel's own mapping is write-back only where the firmware's MTRRs (memory type range
//! registers) allow it, and uncached elsewhere; the mappings of programs do not depend on that. It
//! is for looks at single words.

use core::ptr::NonNull;

use kernel::{
    bindings,
    prelude::*, //
};

use super::{
    bar::BarRegion,
    cache::Cache,
    frames::Frames,
    helpers, //
};

/// # Invariants
///
/// All of `region` is mapped at `mapping`, by `memremap` or `ioremap`, while this object lives.
pub(crate) struct DeviceMemory {
    mapping: NonNull<c_void>,
    cache: Cache,
    region: BarRegion,
}

// SAFETY: The mapping belongs to no thread.
unsafe impl Send for DeviceMemory {}

// SAFETY: Nothing is accessed through a shared reference.
unsafe impl Sync for DeviceMemory {}

impl DeviceMemory {
    /// Maps the memory into the kernel, for programs to be mapped as `cache`. May sleep.
    pub(crate) fn new(region: BarRegion, cache: Cache) -> Result<Self> {
        let start = region.start();
        let len = usize::try_from(region.size())?;
        // Decrypted: the host sees it. `ioremap` and write-combining are that always.
        let flags = match cache {
            Cache::WriteBack => bindings::MEMREMAP_WB | bindings::MEMREMAP_DEC,
            Cache::WriteCombining => bindings::MEMREMAP_WC,
            Cache::Uncached => 0,
        };
        let mapping = if flags == 0 {
            // SAFETY: The range is memory of a device that is claimed, not RAM. `memremap` has no
            // flag for uncached memory.
            unsafe { bindings::ioremap(start, len) }
        } else {
            // CAST: A small number.
            // SAFETY: The range is memory of a device that is claimed, not RAM.
            unsafe { bindings::memremap(start, len, flags as c_ulong) }
        };
        // INVARIANT: Mapped just now.
        Ok(Self {
            mapping: NonNull::new(mapping).ok_or(ENOMEM)?,
            cache,
            region,
        })
    }

    /// What mappings get.
    pub(super) fn cache(&self) -> Cache {
        self.cache
    }

    /// Size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.region.size()
    }

    /// Where the kernel itself sees the memory, all of it, until this object is dropped.
    pub(super) fn mapping(&self) -> NonNull<c_void> {
        self.mapping
    }

    /// What page table entries of programs point to.
    pub(super) fn frames(&self) -> Frames {
        Frames::new(self.region.start(), self.region.size())
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        // SAFETY: Mapped by the type invariant. `memunmap` hands what `ioremap` made to `iounmap`.
        unsafe { bindings::memunmap(self.mapping.as_ptr()) };
    }
}

/// Whether the memory of this machine is encrypted, so that the host cannot read it: SEV, TDX.
pub(crate) fn guest_is_encrypted() -> bool {
    helpers::ivshmem_guest_is_encrypted()
}
