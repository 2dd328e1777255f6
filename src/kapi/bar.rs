// SPDX-License-Identifier: GPL-2.0

//! Physical memory of a device that is ours, without a mapping.
//!
//! `kernel::pci::Bar` always maps what it requests, uncached, which on x86 would pin that cache type
//! for every other mapping of the BAR; and it never reserves what follows a BAR in its page.

use kernel::{
    bindings,
    device::Bound,
    error::to_result,
    page::PAGE_SIZE,
    pci,
    prelude::*,
    sync::aref::ARef, //
};

/// Whether BAR `bar` is memory, prefetchable or not. What is not is I/O ports, or is not there.
pub(crate) fn is_memory(pdev: &pci::Device<Bound>, bar: u32) -> bool {
    // SAFETY: `pdev` is a valid device, whose resources do not change while it is bound.
    let resources = unsafe { &(*super::pci::as_raw(pdev)).resource };
    // CAST: A BAR number.
    let resource = resources.get(bar as usize);
    // CAST: A small constant.
    resource.is_some_and(|resource| resource.flags & bindings::IORESOURCE_MEM as c_ulong != 0)
}

/// The sole right to whole pages of a device.
///
/// # Invariants
///
/// Nobody else may use the `size` bytes from physical address `start`, both multiples of the page
/// size and not 0, while this object lives: `_held` is requested by us, and is all of them, or all
/// but the BAR for whose page [`Claim::page_of`] was called.
pub(crate) struct Claim {
    _held: Held,
    start: u64,
    size: u64,
}

// SAFETY: The claim belongs to no thread.
unsafe impl Send for Claim {}

// SAFETY: As for `Send`; nothing changes through a shared reference.
unsafe impl Sync for Claim {}

/// What was requested, and is released when this is dropped.
enum Held {
    /// A BAR of the device.
    Bar(ARef<pci::Device>, c_int),
    /// So many bytes from an address; 0 bytes were not requested.
    Bytes(u64, u64),
}

impl Drop for Held {
    fn drop(&mut self) {
        match self {
            // SAFETY: Requested.
            Self::Bar(pdev, bar) => unsafe {
                bindings::pci_release_region(super::pci::as_raw(&**pdev), *bar)
            },
            Self::Bytes(_, 0) => {}
            // SAFETY: Requested.
            Self::Bytes(start, size) => unsafe {
                bindings::__release_region(&raw mut bindings::iomem_resource, *start, *size)
            },
        }
    }
}

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
            _held: Held::Bar(pdev.into(), bar),
            start,
            size,
        })
    }

    /// Claims what follows BAR `bar` in its first page, which makes that whole page ours. The caller
    /// has requested the BAR itself, and keeps it for longer than this object.
    ///
    /// `EBUSY` if the page does not begin with the BAR, or if something else lies in it.
    pub(crate) fn page_of(
        pdev: &pci::Device<Bound>,
        bar: u32,
        name: &'static CStr,
    ) -> Result<Self> {
        // CAST: `usize` is at most 64 bits wide.
        let page = PAGE_SIZE as u64;
        let start = pdev.resource_start(bar)?;
        let used = pdev.resource_len(bar)?.min(page);
        if start % page != 0 || used == 0 {
            return Err(EBUSY);
        }
        let (rest, len) = (start + used, page - used);
        if len > 0 {
            // SAFETY: The root of the tree of memory is always there; the name lives for ever.
            let region = unsafe {
                bindings::__request_region(
                    &raw mut bindings::iomem_resource,
                    rest,
                    len,
                    name.as_char_ptr(),
                    0,
                )
            };
            if region.is_null() {
                return Err(EBUSY);
            }
        }
        // INVARIANT: The BAR is the caller's, the rest was requested just now.
        Ok(Self {
            _held: Held::Bytes(rest, len),
            start,
            size: page,
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
