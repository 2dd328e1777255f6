// SPDX-License-Identifier: GPL-2.0

//! Page faults that are answered with page frames: page table entries that point to bare physical
//! memory, without page structures.
//!
//! The entries are marked as special, which keeps everybody in the kernel from taking references to
//! what they point to. So the memory can be given back as soon as the entries are gone.
//!
//! One fault puts in all entries of its page table that lie in the area: 2 MiB of small pages or 1
//! GiB of large ones, with 4 KiB pages. Elsewhere than on x86 it puts in a single large one.

use kernel::{
    bindings,
    page::PAGE_SHIFT,
    prelude::*, //
};

use super::helpers;

/// Size of a page that a fault may map, as the logarithm of pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Order(pub(super) u32);

/// Logarithm of the number of entries that a page table has.
const TABLE_SHIFT: u32 = PAGE_SHIFT as u32 - size_of::<usize>().ilog2();

impl Order {
    /// One page.
    pub(super) const PAGE: Self = Self(0);

    /// What one entry of the second lowest page table level maps: 2 MiB where pages have 4 KiB.
    pub(super) const PMD: Self = Self(TABLE_SHIFT);

    /// Bytes.
    const fn bytes(self) -> u64 {
        1 << self.log2()
    }

    /// Logarithm of the bytes.
    pub(super) const fn log2(self) -> u32 {
        // CAST: A small constant.
        self.0 + PAGE_SHIFT as u32
    }
}

/// Physical memory of a device, whole pages.
#[derive(Clone, Copy)]
pub(super) struct Frames {
    start: u64,
    size: u64,
}

/// Entries to be put in: what lies between two addresses, and where.
///
/// # Invariants
///
/// `from .. to` lies in the area of a fault that [`Frames::entries`] was asked about, contains its
/// address, is made of whole pages of `order` and lies below one page table. It is to show the page
/// frames from `pfn` on, all of them of a device.
pub(super) struct Entries {
    order: Order,
    from: c_ulong,
    to: c_ulong,
    pfn: c_ulong,
}

impl Frames {
    /// `size` bytes from physical address `start`, multiples of the page size and not 0.
    pub(super) fn new(start: u64, size: u64) -> Self {
        Self { start, size }
    }

    /// Physical address of the first byte.
    #[cfg(dma_bufs)]
    pub(super) fn start(self) -> u64 {
        self.start
    }

    /// Size in bytes.
    pub(super) fn size(self) -> u64 {
        self.size
    }

    /// The largest page that a mapping can get.
    pub(super) fn largest(self) -> Order {
        let fits = (self.start | self.size) % Order::PMD.bytes() == 0;
        if cfg!(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) && fits {
            Order::PMD
        } else {
            Order::PAGE
        }
    }

    /// The entries of `order` for a fault at byte `offset` of the memory, which is below the size;
    /// `None` if no page of `order` fits.
    ///
    /// # Safety
    ///
    /// `vmf` describes a fault of this thread, whose area shows this memory.
    pub(super) unsafe fn entries(
        self,
        vmf: &bindings::vm_fault,
        order: Order,
        offset: u64,
    ) -> Option<Entries> {
        if order != Order::PAGE && (order != Order::PMD || self.largest() != Order::PMD) {
            return None;
        }
        let at = vmf.__bindgen_anon_1;
        // SAFETY: A fault holds the lock of its area, which stays valid until the fault is
        // answered.
        let area = unsafe { (*at.vma).__bindgen_anon_1.__bindgen_anon_1 };
        // CAST: All are 64 bits wide.
        let address = at.address as u64;
        let physical = self.start + (offset & !(Order::PAGE.bytes() - 1));
        let (page, table) = (order.bytes(), order.bytes() << TABLE_SHIFT);
        if (physical ^ address) % page != 0 {
            return None;
        }
        // The part of the page table, of the area and of the memory that the address lies in.
        let low = (address & !(table - 1))
            .max(area.vm_start as u64)
            .max(address.saturating_sub(physical - self.start));
        let high = ((address | (table - 1)) + 1)
            .min(area.vm_end as u64)
            .min(address + (self.start + self.size - physical));
        let (from, to) = (low.next_multiple_of(page), high & !(page - 1));
        if address < from || address >= to {
            return None;
        }
        // INVARIANT: See above. CAST: Addresses and page frame numbers fit into `unsigned long`.
        Some(Entries {
            order,
            from: from as c_ulong,
            to: to as c_ulong,
            pfn: ((physical - (address - from)) >> PAGE_SHIFT) as c_ulong,
        })
    }
}

impl Entries {
    /// Puts in those that are not there yet. May sleep.
    ///
    /// # Safety
    ///
    /// `vmf` is what [`Frames::entries`] was asked about; its area is shared and has VM_PFNMAP. The
    /// memory is the device's until all mappings have lost it. No other fault in an area of this
    /// memory makes entries meanwhile.
    pub(super) unsafe fn insert(self, vmf: &mut bindings::vm_fault) -> bindings::vm_fault_t {
        let Self {
            order,
            from,
            to,
            pfn,
        } = self;
        if order == Order::PAGE {
            // SAFETY: By the type invariant and what the caller promises.
            unsafe { helpers::ivshmem_insert_ptes(vmf, from, to, pfn) }
        } else {
            // SAFETY: By the type invariant and what the caller promises; faults of this order are
            // for a large page.
            unsafe { helpers::ivshmem_insert_pmds(vmf, from, to, pfn) }
        }
    }
}
