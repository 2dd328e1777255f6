// SPDX-License-Identifier: GPL-2.0

//! What all mappings of the device have in common: flags, and page faults answered by an object.

use core::marker::PhantomData;

use kernel::{
    bindings,
    mm::virt::{
        flags,
        vm_flags_t,
        VmaNew, //
    },
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::ForeignOwnable, //
};

use super::{
    frames::Order,
    helpers, //
};

/// The area is shared, also where `mmap` clears VM_SHARED: for a file that is open read-only.
///
/// From the number of the bit: some releases of 7.3 bind `VM_MAYSHARE` to the value of
/// `VM_MAYEXEC`.
const MAYSHARE: vm_flags_t = 1 << bindings::VMA_MAYSHARE_BIT;

/// `VM_WIPEONFORK`, likewise.
const WIPEONFORK: vm_flags_t = 1 << bindings::VMA_WIPEONFORK_BIT;

// The other flags whose meaning the driver trusts, here and in `VmaNew`.
const _: () = {
    let trusted = [
        (flags::READ, bindings::VMA_READ_BIT),
        (flags::WRITE, bindings::VMA_WRITE_BIT),
        (flags::EXEC, bindings::VMA_EXEC_BIT),
        (flags::MAYWRITE, bindings::VMA_MAYWRITE_BIT),
        (flags::MAYEXEC, bindings::VMA_MAYEXEC_BIT),
        (flags::PFNMAP, bindings::VMA_PFNMAP_BIT),
        (flags::IO, bindings::VMA_IO_BIT),
        (flags::DONTEXPAND, bindings::VMA_DONTEXPAND_BIT),
        (flags::DONTDUMP, bindings::VMA_DONTDUMP_BIT),
    ];
    let mut i = 0;
    while i < trusted.len() {
        assert!(trusted[i].0 == 1 << trusted[i].1);
        i += 1;
    }
};

/// `access` of `struct vm_operations_struct`.
pub(super) type Access = unsafe extern "C" fn(
    *mut bindings::vm_area_struct,
    c_ulong,
    *mut c_void,
    c_int,
    c_int,
) -> c_int;

/// An object whose pages areas show. Each area owns a reference to it.
pub(super) trait Pager: Send + Sync + Sized + 'static {
    /// There is one more area.
    fn opened(&self) {}

    /// There is one area less.
    fn closed(&self) {}

    /// What debuggers read and write the pages with, where they have no page structures.
    const ACCESS: Option<Access> = None;

    /// Whether the copies of an area that fork and mremap make begin without pages, and have them
    /// by their own faults. Copying and moving a large page frame (`copy_huge_pmd()`,
    /// `move_huge_pmd()`) are not ordered against taking it away: the copy could be left with an
    /// entry that nobody finds any more.
    const COPIES_ARE_EMPTY: bool = false;

    /// Puts a page of `order` in place, or answers `VM_FAULT_FALLBACK` if a smaller one is to be
    /// tried. May sleep.
    ///
    /// # Safety
    ///
    /// `vmf` describes a fault of this thread in an area that [`attach`] gave to this object.
    unsafe fn fault(
        this: ArcBorrow<'_, Self>,
        vmf: &mut bindings::vm_fault,
        order: Order,
    ) -> bindings::vm_fault_t;
}

/// Makes `vma` a mapping that is shared, not executable, not in core dumps and cannot grow.
///
/// `EINVAL` for a private mapping, `EACCES` for an executable one.
pub(super) fn restrict(vma: &VmaNew) -> Result {
    // In a private mapping the kernel would take page frames for pages of the program's own.
    if vma.flags() & MAYSHARE == 0 {
        return Err(EINVAL);
    }
    vma.try_clear_mayexec().map_err(|_| EACCES)?;
    vma.set_dontexpand();
    vma.set_dontdump();
    Ok(())
}

/// Lets `pager` answer the page faults of `vma`.
pub(super) fn attach<T: Pager>(vma: &VmaNew, pager: Arc<T>) {
    pager.opened();
    let raw = vma.as_ptr();
    // SAFETY: The area is being set up and nobody else sees it. The reference is given back by
    // `Operations::close`.
    unsafe { (*raw).vm_private_data = pager.into_foreign() };
    // SAFETY: The area is being set up and nobody else sees it.
    unsafe { (*raw).vm_ops = Operations::<T>::table() };
}

/// The `struct vm_operations_struct` of an area that has a pager.
struct Operations<T: Pager>(PhantomData<T>);

impl<T: Pager> Operations<T> {
    const TABLE: bindings::vm_operations_struct = bindings::vm_operations_struct {
        open: Some(Self::open),
        close: Some(Self::close),
        fault: Some(Self::fault),
        huge_fault: Some(Self::huge_fault),
        access: T::ACCESS,
        ..pin_init::zeroed()
    };

    const fn table() -> &'static bindings::vm_operations_struct {
        &Self::TABLE
    }

    /// The pager of an area.
    ///
    /// # Safety
    ///
    /// `vma` has these operations and is not closed while the result is in use.
    unsafe fn pager<'a>(vma: *mut bindings::vm_area_struct) -> ArcBorrow<'a, T> {
        // SAFETY: An area with these operations is valid until its `close` has returned, which by
        // the precondition it has not.
        let private = unsafe { (*vma).vm_private_data };
        // SAFETY: The area owns a reference, which `attach` or `open` gave it.
        unsafe { Arc::<T>::borrow(private) }
    }

    /// A copy of the area was made: by fork, by a split, by mremap.
    ///
    /// # Safety
    ///
    /// `vma` has these operations.
    unsafe extern "C" fn open(vma: *mut bindings::vm_area_struct) {
        // SAFETY: The kernel calls `open` with the copy before anybody can close it. The copy has
        // the original's `vm_private_data`, and the original, which is locked, still owns its
        // reference.
        let pager = unsafe { Self::pager(vma) };
        pager.opened();
        core::mem::forget(Arc::from(pager));
        if T::COPIES_ARE_EMPTY {
            // SAFETY: The area is a copy that is not in use yet, and `mmap_lock` is held for
            // writing.
            unsafe { helpers::ivshmem_leave_pages_behind(vma) };
            // Here and not when the area is set up, for MADV_KEEPONFORK could clear it there. A
            // fork asks for it after this call (`dup_mmap()`). SAFETY: The area is new, or locked
            // for writing while it is split or moved.
            unsafe { (*vma).__bindgen_anon_2.vm_flags |= WIPEONFORK };
        }
    }

    /// The area goes away.
    ///
    /// # Safety
    ///
    /// `vma` has these operations, and this is the last call for it.
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: The area is valid for the call.
        let private = unsafe { (*vma).vm_private_data };
        // SAFETY: `attach` or `open` gave this area a reference, which is not used any more.
        unsafe { Arc::<T>::from_foreign(private) }.closed();
    }

    /// A page is touched that is not there.
    ///
    /// # Safety
    ///
    /// `vmf` describes a fault in an area with these operations.
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: The kernel calls `fault` with the description of a fault in an area whose
        // operations these are.
        unsafe { Self::answer(vmf, Order::PAGE) }
    }

    /// A page is touched where a page of 2^`order` pages would fit into the tables.
    ///
    /// # Safety
    ///
    /// `vmf` describes a fault in an area with these operations.
    unsafe extern "C" fn huge_fault(
        vmf: *mut bindings::vm_fault,
        order: c_uint,
    ) -> bindings::vm_fault_t {
        // SAFETY: The kernel calls `huge_fault` with the description of a fault in an area whose
        // operations these are.
        unsafe { Self::answer(vmf, Order(order)) }
    }

    /// # Safety
    ///
    /// `vmf` describes a fault in an area with these operations.
    unsafe fn answer(vmf: *mut bindings::vm_fault, order: Order) -> bindings::vm_fault_t {
        // SAFETY: The description is valid for the call, and this thread's.
        let vmf = unsafe { &mut *vmf };
        // SAFETY: The area is locked by the page fault.
        let pager = unsafe { Self::pager(vmf.__bindgen_anon_1.vma) };
        // SAFETY: `vmf` describes a fault of this thread in an area that was set up with this
        // pager: `pager` comes from that area.
        unsafe { T::fault(pager, vmf, order) }
    }
}
