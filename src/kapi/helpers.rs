// SPDX-License-Identifier: GPL-2.0

//! Declarations of `helpers.c`, `dma_map.c`, and for some kernels of `compat.c`: macros and inline
//! functions of the kernel's headers.

use kernel::{
    bindings,
    ffi::{
        c_uint,
        c_ulong, //
    }, //
};

// The signatures are those of these files.
#[allow(improper_ctypes, reason = "the kernel's own structures")]
unsafe extern "C" {
    /// No preconditions.
    pub(super) safe fn ivshmem_guest_is_encrypted() -> bool;

    /// `index` if it is below `size`, else 0, also where the CPU speculates. No preconditions.
    pub(super) safe fn ivshmem_array_index_nospec(index: c_ulong, size: c_ulong) -> c_ulong;

    /// May sleep.
    pub(super) safe fn ivshmem_cond_resched();
    /// `rmb()`. No preconditions.
    #[cfg(before_7_3)]
    pub(super) safe fn ivshmem_rmb();

    /// `wmb()`. No preconditions.
    #[cfg(before_7_3)]
    pub(super) safe fn ivshmem_wmb();

    /// Switches interrupts of this CPU off, and returns what they were. No preconditions.
    #[cfg(before_7_3)]
    pub(super) safe fn ivshmem_irq_save() -> c_ulong;

    /// Undoes the last `ivshmem_irq_save` on this CPU, which returned `flags`. No preconditions: of
    /// wrong flags no memory is harmed.
    #[cfg(before_7_3)]
    pub(super) safe fn ivshmem_irq_restore(flags: c_ulong);

    /// `lock` is initialised.
    #[cfg(before_7_3)]
    pub(super) fn ivshmem_lock_irqsave(lock: *mut bindings::spinlock_t) -> c_ulong;

    /// `lock` is held, and was taken by `ivshmem_lock_irqsave`, which returned `flags`.
    #[cfg(before_7_3)]
    pub(super) fn ivshmem_unlock_irqrestore(lock: *mut bindings::spinlock_t, flags: c_ulong);

    /// No preconditions.
    pub(super) safe fn ivshmem_has_cache(cache: c_uint) -> bool;

    /// `vma` is being set up and seen by this thread only.
    pub(super) fn ivshmem_set_cache(vma: *mut bindings::vm_area_struct, cache: c_uint);

    /// `copy` is an area that is not in use yet, made of one of the same process, whose `mmap_lock`
    /// is held for writing, or by a fork. May sleep.
    pub(super) fn ivshmem_leave_pages_behind(copy: *mut bindings::vm_area_struct);

    /// `vmf` describes a fault in a shared area with VM_PFNMAP, whose `start .. end`, of whole
    /// pages below one entry of the level above, is to show the page frames from `pfn` on. May
    /// sleep.
    pub(super) fn ivshmem_insert_ptes(
        vmf: *mut bindings::vm_fault,
        start: c_ulong,
        end: c_ulong,
        pfn: c_ulong,
    ) -> bindings::vm_fault_t;

    /// As `ivshmem_insert_ptes`, for whole large pages below one entry of the level above theirs;
    /// `vmf` is of a fault for a large page.
    pub(super) fn ivshmem_insert_pmds(
        vmf: *mut bindings::vm_fault,
        start: c_ulong,
        end: c_ulong,
        pfn: c_ulong,
    ) -> bindings::vm_fault_t;

    /// `size` bytes from `start` are memory of a device, and `dev` is bound to a driver that asks
    /// for them. May sleep. `Err` as a pointer; see `dma_map.c`.
    #[cfg(dma_bufs)]
    pub(super) fn ivshmem_dma_map(
        dev: *mut bindings::device,
        start: bindings::phys_addr_t,
        size: usize,
        direction: bindings::dma_data_direction,
    ) -> *mut bindings::sg_table;

    /// `table` is what `ivshmem_dma_map` made with the same other arguments, and is not used any
    /// more.
    #[cfg(dma_bufs)]
    pub(super) fn ivshmem_dma_unmap(
        dev: *mut bindings::device,
        table: *mut bindings::sg_table,
        size: usize,
        direction: bindings::dma_data_direction,
    );

    /// `state` can be written to with atomics.
    pub(super) fn ivshmem_set_state(state: *mut u32, value: u32);

    /// `state` can be read with atomics until the call returns; `vmf` describes a fault, which is
    /// not touched after the call, nor is its area. May sleep.
    pub(super) fn ivshmem_wait_while_state(
        vmf: *mut bindings::vm_fault,
        state: *mut u32,
        value: u32,
    ) -> bindings::vm_fault_t;
}
