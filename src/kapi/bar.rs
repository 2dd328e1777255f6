// SPDX-License-Identifier: GPL-2.0

//! Physical memory of a device that is ours, without a mapping.
//!
//! `kernel::pci::Bar` always maps what it requests, uncached, which on x86 would pin that cache
//! type for every other mapping of the BAR; and it never reserves what follows a BAR in its page.

use kernel::{
    bindings,
    device::Bound,
    error::to_result,
    page::PAGE_SIZE,
    pci,
    prelude::*,
    sync::aref::ARef, //
};

// CAST: `usize` is at most 64 bits wide.
const PAGE: u64 = PAGE_SIZE as u64;

/// Whether BAR `bar` is memory, prefetchable or not. What is not is I/O ports, or is not there.
pub(crate) fn is_memory(pdev: &pci::Device<Bound>, bar: u32) -> bool {
    // SAFETY: `pdev` is a valid device, whose resources do not change while it is bound.
    let resources = unsafe { &(*super::pci::as_raw(pdev)).resource };
    // CAST: A BAR number.
    let resource = resources.get(bar as usize);
    // CAST: A small constant.
    resource.is_some_and(|resource| resource.flags & bindings::IORESOURCE_MEM as c_ulong != 0)
}

/// Whole pages of a device's memory.
///
/// # Invariants
///
/// The `size` bytes from physical address `start`, both multiples of the page size and not 0, are a
/// BAR of memory, or the page of one in which nothing else lies: never RAM, nor anything of another
/// device. What `_held` says is requested, so that it stays so.
pub(crate) struct BarRegion {
    _held: Held,
    start: u64,
    size: u64,
}

// SAFETY: A request for a range belongs to no thread.
unsafe impl Send for BarRegion {}

// SAFETY: Nothing changes through a shared reference.
unsafe impl Sync for BarRegion {}

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

impl BarRegion {
    /// Requests BAR `bar`; `name` is what `/proc/iomem` shows. `EBUSY` if somebody else has it,
    /// `EINVAL` if it is not memory of whole pages.
    pub(crate) fn new(pdev: &pci::Device<Bound>, bar: u32, name: &'static CStr) -> Result<Self> {
        let start = pdev.resource_start(bar)?;
        let size = pdev.resource_len(bar)?;
        if !is_memory(pdev, bar) || size == 0 || (start | size) % PAGE != 0 {
            return Err(EINVAL);
        }
        let bar = c_int::try_from(bar)?;
        // SAFETY: The device is valid, the BAR number was checked by `resource_len`.
        to_result(unsafe {
            bindings::pci_request_region(super::pci::as_raw(pdev), bar, name.as_char_ptr())
        })?;
        // INVARIANT: Requested, and checked above.
        Ok(Self {
            _held: Held::Bar(pdev.into(), bar),
            start,
            size,
        })
    }

    /// The first page of BAR `bar`, of which what follows a smaller BAR is requested. The BAR
    /// itself is not: the driver has requested it where it maps the registers for itself.
    ///
    /// `EBUSY` if the page does not begin with the BAR, or if something else lies in it; `EINVAL`
    /// if the BAR is not memory.
    pub(crate) fn page_of(
        pdev: &pci::Device<Bound>,
        bar: u32,
        name: &'static CStr,
    ) -> Result<Self> {
        if !is_memory(pdev, bar) {
            return Err(EINVAL);
        }
        let start = pdev.resource_start(bar)?;
        let used = pdev.resource_len(bar)?.min(PAGE);
        if start % PAGE != 0 || used == 0 {
            return Err(EBUSY);
        }
        let (rest, len) = (start + used, PAGE - used);
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
        // INVARIANT: The page begins with a BAR of memory; the rest was free, and is requested.
        Ok(Self {
            _held: Held::Bytes(rest, len),
            start,
            size: PAGE,
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
