// SPDX-License-Identifier: GPL-2.0

//! Page frames: programs get page table entries that point to bare physical memory.
//!
//! On x86 such an entry takes its cache type from the reservation of the memory
//! (`pfnmap_setup_cachemode()` in `arch/x86/mm/pat/memtype.c`), not from the flags of the area. The
//! kernel's own mapping makes the reservation, and its page table entry tells what was granted: where
//! the firmware's MTRRs (memory type range registers) say uncached, a wish for write-back ends as
//! uncached without any error.

use core::ptr::NonNull;

use kernel::{
    bindings,
    mm::virt::{
        flags,
        vm_flags_t, //
    },
    page::PAGE_SHIFT,
    prelude::*,
    sync::Arc, //
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

/// A BAR that is mapped into the kernel and shown frame by frame.
///
/// # Invariants
///
/// All of `claim` is mapped at `mapping`, by `memremap` or `ioremap`, while this object lives.
pub(crate) struct Frames {
    mapping: NonNull<c_void>,
    claim: Arc<Claim>,
}

// SAFETY: The mapping belongs to no thread.
unsafe impl Send for Frames {}

// SAFETY: As for `Send`; nothing is accessed through a shared reference.
unsafe impl Sync for Frames {}

impl Frames {
    /// Maps the memory with the cache type `wish` and so reserves it; [`Route::cache`] tells what
    /// was granted. May sleep.
    pub(crate) fn new(claim: Arc<Claim>, wish: Cache) -> Result<Self> {
        let start = claim.start();
        let len = usize::try_from(claim.size())?;
        let mapping = match wish {
            // SAFETY: The range is a BAR that is claimed.
            Cache::WriteBack => unsafe {
                // CAST: A small flag.
                bindings::memremap(start, len, bindings::MEMREMAP_WB as c_ulong)
            },
            // SAFETY: As above.
            Cache::WriteCombining => unsafe {
                // CAST: A small flag.
                bindings::memremap(start, len, bindings::MEMREMAP_WC as c_ulong)
            },
            // SAFETY: As above. `memremap` has no flag for uncached memory.
            Cache::Uncached => unsafe { bindings::ioremap(start, len) },
        };
        // INVARIANT: Mapped just now.
        Ok(Self {
            mapping: NonNull::new(mapping).ok_or(ENOMEM)?,
            claim,
        })
    }
}

// SAFETY: All of the claim is mapped by the type invariant. VM_PFNMAP is for page frames.
unsafe impl Route for Frames {
    #[cfg(CONFIG_X86_64)]
    fn cache(&self) -> Cache {
        let mut level: c_uint = 0;
        let address = self.mapping.as_ptr().addr();
        // SAFETY: The address is mapped by the type invariant; `level` can be written to.
        let entry = unsafe { bindings::lookup_address(address, &raw mut level) };
        if entry.is_null() {
            return Cache::Uncached;
        }
        // SAFETY: `lookup_address` returned a valid entry, which stays while the mapping stays.
        let bits = unsafe { entry.cast::<u64>().read_volatile() };
        cache_of_entry(bits, level == bindings::pg_level_PG_LEVEL_4K)
    }

    /// Elsewhere than on x86 nothing overrules the wish, which is write-back.
    #[cfg(not(CONFIG_X86_64))]
    fn cache(&self) -> Cache {
        Cache::WriteBack
    }

    fn largest(&self) -> Order {
        let fits = |order: Order| (self.claim.start() | self.size()) % order.bytes() == 0;
        if cfg!(CONFIG_ARCH_SUPPORTS_PUD_PFNMAP) && fits(Order::PUD) && has_pud_pages() {
            Order::PUD
        } else if cfg!(CONFIG_ARCH_SUPPORTS_PMD_PFNMAP) && fits(Order::PMD) {
            Order::PMD
        } else {
            Order::PAGE
        }
    }

    fn size(&self) -> u64 {
        self.claim.size()
    }

    fn mapping(&self) -> NonNull<c_void> {
        self.mapping
    }

    fn area_flags(&self) -> vm_flags_t {
        flags::PFNMAP | flags::IO
    }

    fn fault(&self, fault: Fault<'_>, order: Order) -> bindings::vm_fault_t {
        if order > self.largest() || !fault.covers(order, self.claim.start(), self.size()) {
            return bindings::vm_fault_reason_VM_FAULT_FALLBACK;
        }
        let within = fault.offset & !(order.bytes() - 1);
        // CAST: Page frame numbers fit into `unsigned long`.
        let frame = ((self.claim.start() + within) >> PAGE_SHIFT) as c_ulong;
        let write = fault.is_write();
        let vmf = core::ptr::from_mut(fault.vmf);
        match order {
            // SAFETY: The fault is valid, its area has VM_PFNMAP and is not private. The frames are
            // those of a BAR that is claimed until all mappings have lost them; the stretch lies
            // in the area, as was checked.
            Order::PUD => unsafe { bindings::vmf_insert_pfn_pud(vmf, frame, write) },
            // SAFETY: As above.
            Order::PMD => unsafe { bindings::vmf_insert_pfn_pmd(vmf, frame, write) },
            _ => {
                // SAFETY: The fault is valid.
                let at = unsafe { (*vmf).__bindgen_anon_1 };
                // SAFETY: As above.
                unsafe { bindings::vmf_insert_pfn(at.vma, at.address, frame) }
            }
        }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // SAFETY: Mapped by the type invariant. `memunmap` hands what `ioremap` made to `iounmap`.
        unsafe { bindings::memunmap(self.mapping.as_ptr()) };
    }
}

/// Whether the CPU has pages of the size of [`Order::PUD`].
///
/// `vmf_insert_pfn_pud` does not ask: X86_FEATURE_GBPAGES is word 1, bit 26 of the capabilities.
#[cfg(CONFIG_X86_64)]
fn has_pud_pages() -> bool {
    // SAFETY: The boot CPU's capabilities are not written any more when modules run.
    let word = unsafe { bindings::boot_cpu_data.__bindgen_anon_3.x86_capability[1] };
    word & (1 << 26) != 0
}

/// Whether the CPU has pages of the size of [`Order::PUD`].
#[cfg(not(CONFIG_X86_64))]
fn has_pud_pages() -> bool {
    true
}

/// Decodes the cache type of an x86 page table entry, `small` if it maps a 4 KiB page.
///
/// The three bits index the page attribute table as `pat_bp_init()` in
/// `arch/x86/mm/pat/memtype.c` programs it: WB, WC, UC-, UC, WB, WP, UC-, WT.
#[cfg(CONFIG_X86_64)]
fn cache_of_entry(bits: u64, small: bool) -> Cache {
    let attribute = if small {
        bindings::_PAGE_BIT_PAT
    } else {
        bindings::_PAGE_BIT_PAT_LARGE
    };
    let bit = |n: u32| (bits >> n) & 1;
    let index =
        bit(attribute) << 2 | bit(bindings::_PAGE_BIT_PCD) << 1 | bit(bindings::_PAGE_BIT_PWT);
    match index {
        0 | 4 => Cache::WriteBack,
        1 => Cache::WriteCombining,
        _ => Cache::Uncached,
    }
}
