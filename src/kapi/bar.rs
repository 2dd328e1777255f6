// SPDX-License-Identifier: GPL-2.0

//! A memory BAR that is ours, without a mapping of the registers' kind.
//!
//! `kernel::pci::Bar` always maps what it requests, uncached, which on x86 would pin that cache type
//! for every other mapping of the BAR.

use kernel::{
    bindings,
    device::Bound,
    error::to_result,
    page::PAGE_SIZE,
    pci,
    prelude::*,
    sync::aref::ARef, //
};

/// The sole right to a BAR.
///
/// # Invariants
///
/// The BAR `bar` of `pdev`, `size` bytes from physical address `start`, both multiples of the page
/// size and not 0, is requested by us while this object lives.
pub(crate) struct Claim {
    pdev: ARef<pci::Device>,
    bar: c_int,
    start: u64,
    size: u64,
}

// SAFETY: The claim belongs to no thread.
unsafe impl Send for Claim {}

// SAFETY: As for `Send`; nothing changes through a shared reference.
unsafe impl Sync for Claim {}

impl Claim {
    /// Claims BAR `bar`; `name` is what `/proc/iomem` shows. `EBUSY` if somebody else has it.
    pub(crate) fn new(pdev: &pci::Device<Bound>, bar: u32, name: &'static CStr) -> Result<Self> {
        let start = pdev.resource_start(bar)?;
        let size = pdev.resource_len(bar)?;
        // CAST: `usize` is at most 64 bits wide.
        if size == 0 || (start | size) % PAGE_SIZE as u64 != 0 {
            return Err(EINVAL);
        }
        let bar = c_int::try_from(bar)?;
        // SAFETY: The device is valid, the BAR number was checked by `resource_len`.
        to_result(unsafe {
            bindings::pci_request_region(super::pci::as_raw(pdev), bar, name.as_char_ptr())
        })?;
        // INVARIANT: Requested and page-aligned, see above.
        Ok(Self {
            pdev: pdev.into(),
            bar,
            start,
            size,
        })
    }

    /// Physical address of the first byte.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // SAFETY: Requested by the type invariant.
        unsafe { bindings::pci_release_region(super::pci::as_raw(&*self.pdev), self.bar) };
    }
}
