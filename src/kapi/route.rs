// SPDX-License-Identifier: GPL-2.0

//! The ways to show device memory to programs: what they have in common.

use core::ptr::NonNull;

use kernel::{
    bindings,
    mm::virt::{
        vm_flags_t,
        VmaNew, //
    },
    page::PAGE_SHIFT,
    prelude::*, //
};

/// How the CPU caches accesses to the memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cache {
    /// Write-back: cached.
    WriteBack,
    /// Writes are combined, reads are not cached.
    WriteCombining,
    /// Neither reads nor writes are cached.
    Uncached,
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
}

/// Size of a page that a fault may map, as the logarithm of pages: 0, 9 or 18 on x86.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(crate) struct Order(pub(super) u32);

impl Order {
    /// One page.
    pub(crate) const PAGE: Self = Self(0);

    /// What one entry of the second lowest page table level maps: 2 MiB on x86.
    pub(crate) const PMD: Self = Self(bindings::PMD_SHIFT - PAGE_SHIFT as u32);

    /// What one entry of the level above maps: 1 GiB on x86.
    pub(crate) const PUD: Self = Self(bindings::PUD_SHIFT - PAGE_SHIFT as u32);

    /// Bytes.
    pub(crate) const fn bytes(self) -> u64 {
        1 << self.log2()
    }

    /// Logarithm of the bytes.
    pub(crate) const fn log2(self) -> u32 {
        // CAST: A small constant.
        self.0 + PAGE_SHIFT as u32
    }
}

/// A page fault that a route is to answer.
///
/// # Invariants
///
/// `vmf` describes a fault, valid for `'a`, in an area that [`Route::prepare`] of the same route
/// prepared, at byte `offset` of the memory, which is below its size.
pub(crate) struct Fault<'a> {
    pub(super) vmf: &'a mut bindings::vm_fault,
    pub(super) offset: u64,
}

impl Fault<'_> {
    /// Whether the access is a write.
    pub(super) fn is_write(&self) -> bool {
        self.vmf.flags & bindings::fault_flag_FAULT_FLAG_WRITE != 0
    }

    /// Whether the stretch of `order` around the fault lies in the area, and `start`, the physical
    /// address of the memory, is such that one entry can map it.
    pub(super) fn covers(&self, order: Order, start: u64, size: u64) -> bool {
        let mask = order.bytes() - 1;
        // CAST: Both are 64 bits wide.
        let address = self.vmf.__bindgen_anon_1.address as u64;
        let (first, last) = (address & !mask, address | mask);
        // SAFETY: The fault's area is valid and locked by the type invariant.
        let area = unsafe {
            (*self.vmf.__bindgen_anon_1.vma)
                .__bindgen_anon_1
                .__bindgen_anon_1
        };
        // The offset of the address within its stretch must be that of the memory.
        (start + self.offset) & mask & !PAGE_MASK == address & mask & !PAGE_MASK
            && (self.offset & !mask) + order.bytes() <= size
            && first >= area.vm_start as u64
            && last < area.vm_end as u64
    }
}

const PAGE_MASK: u64 = (1 << PAGE_SHIFT) - 1;

/// One way to show a BAR to programs. Chosen once when the device is bound.
///
/// Dropping a route gives the memory back; all pages were taken from all programs before.
///
/// # Safety
///
/// [`Route::size`] bytes at [`Route::mapping`] are mapped memory of the device until the route is
/// dropped; neither value changes. Areas with [`Route::area_flags`] may hold what [`Route::fault`] puts
/// into them.
pub(crate) unsafe trait Route: Send + Sync {
    /// What mappings really get.
    fn cache(&self) -> Cache;

    /// The largest page that a mapping can get.
    fn largest(&self) -> Order;

    /// Size of the memory in bytes.
    fn size(&self) -> u64;

    /// Where the kernel itself sees the memory.
    fn mapping(&self) -> NonNull<c_void>;

    /// The flags of an area that shows the memory.
    fn area_flags(&self) -> vm_flags_t;

    /// Puts a page of `order` in place, or answers `VM_FAULT_FALLBACK` if a smaller one is to be
    /// tried. May sleep.
    fn fault(&self, fault: Fault<'_>, order: Order) -> bindings::vm_fault_t;

    /// Gives `vma` the flags of this route.
    fn prepare(&self, vma: &VmaNew) {
        // SAFETY: The area is being set up and nobody else sees it. The flags fit what `fault`
        // puts into it, as the implementation promises.
        unsafe { (*vma.as_ptr()).__bindgen_anon_2.vm_flags |= self.area_flags() };
    }
}
