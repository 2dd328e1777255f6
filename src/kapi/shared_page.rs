// SPDX-License-Identifier: GPL-2.0

//! A page of kernel memory that programs can map read-only.

use core::ptr::NonNull;

use kernel::{
    alloc::flags::{
        __GFP_NOWARN,
        __GFP_ZERO, //
    },
    bindings,
    mm::virt::VmaNew,
    page::{
        AsPageIter,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc,
        ArcBorrow, //
    },
    types::Opaque, //
};

use super::{
    area::{
        self,
        Pager, //
    },
    frames::Order, //
};

/// What is in the page; the type gives it its size and alignment.
type Words = Opaque<[u64; PAGE_SIZE / 8]>;

/// The first bytes of the page are for words of 32 bits, the others for words of 64: an access of
/// one size to what is accessed in another has no defined order.
const WORDS32: usize = 64;

/// One zeroed page, written by the kernel with atomics and read by whoever mapped it.
///
/// From `vmalloc`, which gives a page and a lasting address for it. That of `kmap_local_page` is
/// for a short time and one thread.
///
/// # Invariants
///
/// `page` is the one page of `words`, and stays it. All accesses to `words` go through [`Atomic`].
pub(crate) struct SharedPage {
    words: VBox<Words>,
    page: NonNull<bindings::page>,
}

// SAFETY: The page belongs to no thread and is accessed with atomics only.
unsafe impl Send for SharedPage {}

// SAFETY: Nothing but atomic accesses to the page is possible through a shared reference.
unsafe impl Sync for SharedPage {}

impl SharedPage {
    /// Allocates the page; may sleep.
    pub(crate) fn new() -> Result<Self> {
        // Whoever binds the device is told of a failure: no trace is needed.
        let words = VBox::<Words>::new_uninit(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN)?;
        // SAFETY: Zeroed, which is a valid value; `Opaque` takes any.
        let mut words = unsafe { words.assume_init() };
        let page = words.page_iter().next().map(|page| page.as_ptr());
        let page = page.and_then(NonNull::new).ok_or(ENOMEM)?;
        // INVARIANT: The box is a page long, nobody else knows it yet, and it is never resized.
        Ok(Self { words, page })
    }

    /// Word `index` of the `LEN` 64-bit words from byte `OFFSET`. No part of the page is for words
    /// of both sizes.
    pub(crate) fn word64<const OFFSET: usize, const LEN: usize>(
        &self,
        index: usize,
    ) -> Option<&Atomic<u64>> {
        const { assert!(OFFSET % 8 == 0 && OFFSET >= WORDS32 && OFFSET + LEN * 8 <= PAGE_SIZE) };
        if index >= LEN {
            return None;
        }
        let offset = OFFSET + index * 8;
        // SAFETY: Within the page, as was checked.
        let word = unsafe { self.words.get().byte_add(offset) };
        // SAFETY: The word is aligned and lives as long as `self`; by the type invariant, all
        // accesses are atomic. Programs can only read.
        Some(unsafe { Atomic::from_ptr(word.cast()) })
    }

    /// The 32-bit word at byte `OFFSET`, which is among the first of the page.
    pub(crate) fn word32<const OFFSET: usize>(&self) -> &Atomic<u32> {
        const { assert!(OFFSET % 4 == 0 && OFFSET + 4 <= WORDS32) };
        // SAFETY: Within the page, as was asserted.
        let word = unsafe { self.words.get().byte_add(OFFSET) };
        // SAFETY: The word is aligned and lives as long as `self`; by the type invariant, all
        // accesses are atomic. Programs can only read.
        unsafe { Atomic::from_ptr(word.cast()) }
    }

    /// Lets `vma` show the page, read-only for good.
    ///
    /// The area holds a reference to this object, so that the page stays readable for as long as it
    /// is mapped. `EACCES` if the mapping asks for write access or is executable, `EINVAL` if it is
    /// private or longer than the page.
    pub(crate) fn map(self: &Arc<Self>, vma: &VmaNew) -> Result {
        area::restrict(vma)?;
        vma.try_clear_maywrite().map_err(|_| EACCES)?;
        if vma.end() - vma.start() > PAGE_SIZE {
            return Err(EINVAL);
        }
        area::attach(vma, self.clone());
        Ok(())
    }
}

impl Pager for SharedPage {
    unsafe fn fault(
        this: ArcBorrow<'_, Self>,
        vmf: &mut bindings::vm_fault,
        order: Order,
    ) -> bindings::vm_fault_t {
        if order != Order::PAGE {
            return bindings::vm_fault_reason_VM_FAULT_FALLBACK;
        }
        // SAFETY: The fault is valid and its area shared, one page long and never writable. The
        // page is valid; the mapping takes a reference to it.
        unsafe { bindings::vmf_insert_page_mkwrite(vmf, this.page.as_ptr(), false) }
    }
}
