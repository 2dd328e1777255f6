// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Maps shared memory, and is the only place that has its address.
#![allow(unsafe_code)] // Each access is checked and made right here, so that the rest needs none.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{compiler_fence, fence, AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

use crate::memory::{check_range, check_word};
use crate::{copy, AccessError, Error, Memory, Result};

/// What a mapping may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only; anything else gives [`AccessError::ReadOnly`].
    ReadOnly,
    /// Reading and writing.
    ReadWrite,
}

/// Shared memory of a file or device in this process, until it is dropped.
///
/// If the file shrinks or the device goes away, access to what is gone raises SIGBUS.
///
/// # Invariants
///
/// `start` is page-aligned and `len` bytes from there are mapped, with `access`, as long as this lives. No
/// reference into them is ever formed but to atomics, for the time of one operation.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
    access: Access,
    /// Accesses may pass earlier ones: the memory is not write-back.
    weak: bool,
}

// SAFETY: The memory belongs to no thread.
unsafe impl Send for Mapping {}
// SAFETY: All access through a shared reference is atomic.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes, at least 1, of `file` from the page-aligned `offset` on, shared.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: what `mmap` says.
    pub fn of(file: impl AsFd, offset: u64, len: usize, access: Access) -> Result<Self> {
        let protection = match access {
            Access::ReadOnly => ProtFlags::READ,
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: The kernel chooses the address, so that nothing of this process is replaced.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                MapFlags::SHARED,
                file,
                offset,
            )
        };
        let start = start.map_err(|error| Error::io(error, "cannot map the memory"))?;
        let start = NonNull::new(start.cast()).expect("the kernel does not choose address 0");
        // INVARIANT: It was mapped just now, and `drop` unmaps it.
        Ok(Self {
            start,
            len,
            access,
            weak: false,
        })
    }

    /// Says that the memory is not write-back, so that ordering takes more than on ordinary memory.
    pub(crate) fn with_weak_order(mut self, weak: bool) -> Self {
        self.weak = weak;
        self
    }

    #[inline]
    fn writable(&self) -> Result<(), AccessError> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(AccessError::ReadOnly),
        }
    }

    /// What comes before an atomic operation that releases. On x86 such a one waits for ordinary stores only, not for
    /// those that were combined.
    #[inline]
    fn before(&self, order: Ordering) {
        if self.weak && !matches!(order, Ordering::Relaxed | Ordering::Acquire) {
            full_barrier();
        }
    }

    /// What comes after an atomic operation that acquires, and after a store that later loads must not pass: x86 keeps
    /// ordinary loads in order, and no others.
    #[inline]
    fn after(&self, order: Ordering) {
        if self.weak && !matches!(order, Ordering::Relaxed | Ordering::Release) {
            full_barrier();
        }
    }

    #[inline]
    fn at(&self, index: usize) -> *mut u8 {
        self.start.as_ptr().wrapping_add(index)
    }

    #[inline]
    fn word32(&self, offset: u64) -> Result<&AtomicU32, AccessError> {
        let index = check_word(offset, size_of::<u32>(), self.len)?;
        // SAFETY: In the mapping and aligned, as was just checked, and mapped while `self` is borrowed. All access by
        // this process is atomic.
        Ok(unsafe { AtomicU32::from_ptr(self.at(index).cast()) })
    }

    #[inline]
    fn word64(&self, offset: u64) -> Result<&AtomicU64, AccessError> {
        let index = check_word(offset, size_of::<u64>(), self.len)?;
        // SAFETY: In the mapping and aligned, as was just checked, and mapped while `self` is borrowed. All access by
        // this process is atomic.
        Ok(unsafe { AtomicU64::from_ptr(self.at(index).cast()) })
    }

    /// One step that reads and writes `word`, with barriers for every kind of memory.
    #[inline]
    fn exchange<W, T>(&self, word: W, step: impl FnOnce(W) -> T) -> Result<T, AccessError> {
        self.writable()?;
        self.before(Ordering::SeqCst);
        let result = step(word);
        self.after(Ordering::SeqCst);
        Ok(result)
    }
}

/// A full barrier for accesses to memory of every kind: what `fence` makes of it on x86, a locked operation on the
/// stack, leaves out loads of memory that is not write-back.
fn full_barrier() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: Orders accesses, and changes nothing.
    unsafe {
        std::arch::asm!("mfence", options(nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    fence(Ordering::SeqCst);
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: By the invariant this is our mapping, and no reference into it outlives `self`.
        let result = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert_eq!(result, Ok(()));
    }
}

impl Memory for Mapping {
    #[inline]
    fn size(&self) -> u64 {
        self.len as u64
    }

    #[inline]
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), AccessError> {
        let start = check_range(offset, into.len(), self.len)?;
        // SAFETY: Bytes with values are written as such alone.
        let into = unsafe { &mut *(std::ptr::from_mut(into) as *mut [MaybeUninit<u8>]) };
        // SAFETY: In the mapping, as was just checked; no reference into it is ever formed but to atomics.
        unsafe { copy::read(self.at(start), into, self.weak) };
        Ok(())
    }

    #[inline]
    fn append(&self, offset: u64, len: usize, into: &mut Vec<u8>) -> Result<(), AccessError> {
        let start = check_range(offset, len, self.len)?;
        into.reserve(len);
        let spare = &mut into.spare_capacity_mut()[..len];
        // SAFETY: In the mapping, as was just checked; no reference into it is ever formed but to atomics.
        unsafe { copy::read(self.at(start), spare, self.weak) };
        // SAFETY: There is as much room, and those bytes have values now.
        unsafe { into.set_len(into.len() + len) };
        Ok(())
    }

    #[inline]
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        self.writable()?;
        let start = check_range(offset, from.len(), self.len)?;
        // SAFETY: In the mapping and writable, as was just checked; no reference into it is ever formed but to atomics.
        unsafe { copy::write(self.at(start), from, self.weak) };
        Ok(())
    }

    #[inline]
    fn load32(&self, offset: u64, order: Ordering) -> Result<u32, AccessError> {
        let value = self.word32(offset)?.load(order);
        self.after(order);
        Ok(value)
    }

    #[inline]
    fn store32(&self, offset: u64, value: u32, order: Ordering) -> Result<(), AccessError> {
        self.writable()?;
        let word = self.word32(offset)?;
        self.before(order);
        word.store(value, order);
        self.after(order);
        Ok(())
    }

    #[inline]
    fn compare_exchange32(
        &self,
        offset: u64,
        current: u32,
        new: u32,
    ) -> Result<Result<u32, u32>, AccessError> {
        const ORDER: Ordering = Ordering::SeqCst;
        self.exchange(self.word32(offset)?, |word| {
            word.compare_exchange(current, new, ORDER, ORDER)
        })
    }

    #[inline]
    fn compare_exchange64(
        &self,
        offset: u64,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        const ORDER: Ordering = Ordering::SeqCst;
        self.exchange(self.word64(offset)?, |word| {
            word.compare_exchange(current, new, ORDER, ORDER)
        })
    }

    #[inline]
    fn fetch_add32(&self, offset: u64, add: u32) -> Result<u32, AccessError> {
        self.exchange(self.word32(offset)?, |word| {
            word.fetch_add(add, Ordering::SeqCst)
        })
    }

    #[inline]
    fn load64(&self, offset: u64, order: Ordering) -> Result<u64, AccessError> {
        let value = self.word64(offset)?.load(order);
        self.after(order);
        Ok(value)
    }

    #[inline]
    fn store64(&self, offset: u64, value: u64, order: Ordering) -> Result<(), AccessError> {
        self.writable()?;
        let word = self.word64(offset)?;
        self.before(order);
        word.store(value, order);
        self.after(order);
        Ok(())
    }

    #[inline]
    fn fence(&self) {
        match self.weak {
            true => full_barrier(),
            false => fence(Ordering::SeqCst),
        }
    }

    #[inline]
    fn fence_after_exchange(&self) {
        match cfg!(any(target_arch = "x86_64", target_arch = "x86")) {
            // A locked instruction is one; on other memory `exchange` had it in addition.
            true => compiler_fence(Ordering::SeqCst),
            false => self.fence(),
        }
    }

    #[inline]
    fn fence_loads(&self) {
        match self.weak {
            // Loads of memory that is not write-back keep no order, on x86 either.
            true => full_barrier(),
            false => fence(Ordering::Acquire),
        }
    }

    fn can_exchange(&self) -> bool {
        // x86 locks the bus for memory that is not write-back; others have no exclusive access to it.
        !self.weak || cfg!(any(target_arch = "x86_64", target_arch = "x86"))
    }

    fn address(&self, offset: u64, len: usize) -> Option<NonNull<u8>> {
        let index = check_range(offset, len, self.len).ok()?;
        NonNull::new(self.at(index))
    }
}
