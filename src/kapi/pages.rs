// SPDX-License-Identifier: GPL-2.0

//! Page-backed device memory: the kernel is told that the BAR is memory with page structures.
//!
//! The mappings that programs get of such pages have the cache type of the area, write-back, where
//! bare page frames would get what the firmware's MTRRs leave of it. The kernel's own alias of the
//! memory stays uncached there; nothing but single words is read through it.
//!
//! Limitations:
//!
//! - The BAR has to start and end at multiples of [`Order::PMD`], within what `memremap_pages` takes.
//! - Other parts of the kernel can hold references to the pages (direct I/O, io_uring's registered
//!   buffers). The pages outlive those: dropping [`Pages`] waits, and says so in the kernel log.
//!   `memunmap_pages` itself does not wait for them for this type of memory.
//! - The areas must not have VM_MIXEDMAP: `__split_huge_pmd_locked()` takes a large page out of such
//!   an area without giving its reference back, and the pages would never be free again.

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::from_err_ptr,
    mm::virt::{
        flags,
        vm_flags_t, //
    },
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    pci,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    time, //
};

use super::{
    bar::Claim,
    route::{
        Cache,
        Fault,
        Order,
        Route, //
    }, //
};

/// A BAR with page structures.
///
/// # Invariants
///
/// `map` is registered by `memremap_pages` for all of `claim` while this object lives, in folios of
/// [`Order::PMD`]; `mapping` is the address that it returned.
pub(crate) struct Pages {
    map: KBox<bindings::dev_pagemap>,
    mapping: NonNull<c_void>,
    pdev: ARef<pci::Device>,
    claim: Arc<Claim>,
}

// SAFETY: The registration belongs to no thread.
unsafe impl Send for Pages {}

// SAFETY: As for `Send`; through a shared reference only page structures are accessed, which the
// kernel's functions do with their own locks and atomics.
unsafe impl Sync for Pages {}

impl Pages {
    /// Registers the memory. May sleep.
    ///
    /// `EINVAL` if the memory is not made of whole, aligned stretches of [`Order::PMD`] or lies
    /// outside the range that the machine can have page structures for.
    pub(crate) fn new(claim: Arc<Claim>, pdev: ARef<pci::Device>) -> Result<Self> {
        let (start, size) = (claim.start(), claim.size());
        if (start | size) % Order::PMD.bytes() != 0 {
            return Err(EINVAL);
        }
        let last = start + size - 1;
        // `memremap_pages` checks this too, but warns with a trace.
        // SAFETY: Has no preconditions; true asks for what the kernel's linear mapping can reach.
        let possible = unsafe { bindings::mhp_get_pluggable_range(true) };
        if start < possible.start || last > possible.end {
            return Err(EINVAL);
        }
        let mut map = KBox::new(bindings::dev_pagemap::default(), GFP_KERNEL)?;
        map.type_ = bindings::memory_type_MEMORY_DEVICE_GENERIC;
        // CAST: A small constant.
        map.vmemmap_shift = Order::PMD.0 as c_ulong;
        map.nr_range = 1;
        // SAFETY: The structure is zeroed, which is a valid range; `range` is the first of them.
        let range = unsafe { map.__bindgen_anon_1.range.as_mut() };
        range.start = start;
        range.end = last;
        // SAFETY: The structure is initialised as `memremap_pages` wants it, and boxed, so that it
        // stays where it is until `memunmap_pages`.
        let mapping = from_err_ptr(unsafe {
            bindings::memremap_pages(&raw mut *map, bindings::NUMA_NO_NODE)
        })?;
        // INVARIANT: Registered just now.
        Ok(Self {
            map,
            mapping: NonNull::new(mapping).ok_or(ENOMEM)?,
            pdev,
            claim,
        })
    }

    /// The page structure of the page at byte `offset`, which is below the size.
    fn page(&self, offset: u64) -> *mut bindings::page {
        // CAST: Page frame numbers fit into `usize`.
        let frame = ((self.claim.start() + offset) >> PAGE_SHIFT) as usize;
        // SAFETY: Written during early boot only.
        let base = unsafe { bindings::vmemmap_base };
        // `pfn_to_page()` of a sparse memory model with a virtual memory map.
        core::ptr::with_exposed_provenance_mut::<bindings::page>(base).wrapping_add(frame)
    }

    /// Number of stretches that somebody besides us holds a reference to.
    fn busy(&self) -> u64 {
        let stretches = self.size() / Order::PMD.bytes();
        let references = |stretch: &u64| {
            let head = self.page(stretch * Order::PMD.bytes());
            // SAFETY: The page structures exist by the type invariant; the count is an `atomic_t`.
            let count = unsafe { Atomic::from_ptr(&raw mut (*head)._refcount.counter) };
            // The references of free device memory are the one that registering it took.
            count.load(Acquire) > 1
        };
        // CAST: Never more than there are stretches.
        (0..stretches).filter(references).count() as u64
    }

    /// Waits until nobody else holds a reference to a page.
    fn wait_until_free(&self) {
        const STEP: time::Delta = time::Delta::from_millis(10);
        const STEPS_PER_LINE: u64 = 1000;

        let mut steps = 0u64;
        loop {
            let busy = self.busy();
            if busy == 0 {
                return;
            }
            if steps % STEPS_PER_LINE == STEPS_PER_LINE / 10 {
                dev_warn!(
                    self.pdev,
                    "waiting for {} pages of 2 MiB that other parts of the kernel hold \
                     (direct I/O, io_uring buffers): end the programs that do it\n",
                    busy
                );
            }
            time::delay::fsleep(STEP);
            steps += 1;
        }
    }

    /// Puts single pages in place, all of the stretch around the fault that the area has: what one
    /// large page would have done, on machines where large pages are switched off.
    fn fill(&self, fault: &mut Fault<'_>) -> bindings::vm_fault_t {
        let write = fault.is_write();
        let at = fault.vmf.__bindgen_anon_1;
        let result = self.insert(fault.vmf, fault.offset, write);
        if result != bindings::vm_fault_reason_VM_FAULT_NOPAGE {
            return result;
        }
        // SAFETY: The fault's area is valid and locked by the type invariant.
        let area = unsafe { (*at.vma).__bindgen_anon_1.__bindgen_anon_1 };
        // CAST: A large page's size fits into `usize`.
        let stretch = Order::PMD.bytes() as usize;
        let low = (at.address & !(stretch - 1)).max(area.vm_start);
        let high = (at.address | (stretch - 1)).min(area.vm_end - 1);
        for address in (low..high).step_by(PAGE_SIZE) {
            // Wraps below the fault and back again: the offset of `address` in the memory.
            let offset = (fault.offset & !(PAGE_SIZE as u64 - 1))
                .wrapping_add(address as u64)
                .wrapping_sub((at.address & !(PAGE_SIZE - 1)) as u64);
            if offset >= self.size() {
                continue;
            }
            let mut other = *fault.vmf;
            other.__bindgen_anon_1.address = address;
            // Only the page that was asked for matters; a failure here is met again by its own
            // fault.
            let _ = self.insert(&mut other, offset, false);
        }
        bindings::vm_fault_reason_VM_FAULT_NOPAGE
    }

    /// Puts the page at `offset`, which is below the size, at the address of `vmf`.
    fn insert(
        &self,
        vmf: &mut bindings::vm_fault,
        offset: u64,
        write: bool,
    ) -> bindings::vm_fault_t {
        // SAFETY: The description is that of a valid fault, its address within the area, which is
        // not private. The page exists by the type invariant; the mapping takes a reference.
        unsafe { bindings::vmf_insert_page_mkwrite(vmf, self.page(offset), write) }
    }
}

// SAFETY: All of the claim is mapped by the type invariant. Pages with structures fit into any shared
// area without VM_MIXEDMAP.
unsafe impl Route for Pages {
    fn cache(&self) -> Cache {
        Cache::WriteBack
    }

    /// The kernel switches transparent large pages off in machines with little memory. That an
    /// administrator switched them on or off later cannot be seen from a module.
    fn largest(&self) -> Order {
        const LITTLE: i64 = 512 << (20 - PAGE_SHIFT);

        // SAFETY: The counter is an `atomic_long_t`.
        let pages = unsafe { Atomic::from_ptr(&raw mut bindings::_totalram_pages.counter) };
        if pages.load(Relaxed) < LITTLE {
            Order::PAGE
        } else {
            Order::PMD
        }
    }

    fn size(&self) -> u64 {
        self.claim.size()
    }

    fn mapping(&self) -> NonNull<c_void> {
        self.mapping
    }

    fn area_flags(&self) -> vm_flags_t {
        // Large pages also where they are given on request only.
        flags::HUGEPAGE
    }

    fn fault(&self, mut fault: Fault<'_>, order: Order) -> bindings::vm_fault_t {
        if order == Order::PAGE {
            return self.fill(&mut fault);
        }
        if order != Order::PMD || !fault.covers(order, self.claim.start(), self.size()) {
            return bindings::vm_fault_reason_VM_FAULT_FALLBACK;
        }
        let write = fault.is_write();
        // The first page of a stretch is the folio: `memremap_pages` was asked for that size.
        let folio = self.page(fault.offset & !(order.bytes() - 1)).cast();
        // SAFETY: The fault is valid; the stretch lies in the area, as was checked. The folio exists
        // by the type invariant; the mapping takes a reference.
        unsafe { bindings::vmf_insert_folio_pmd(fault.vmf, folio, write) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // Whoever looked up a page without locks (`gup_fast`) before it was unmapped has seen by
        // now that it is gone: the window waits for a grace period before it drops its route.
        self.wait_until_free();
        // SAFETY: Registered by the type invariant; nobody has a reference to a page, and no new
        // ones can be had, for no mapping is left.
        unsafe { bindings::memunmap_pages(&raw mut *self.map) };
    }
}
