// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Maps shared memory, and is the only place that has its address.
#![allow(unsafe_code)] // Each access is checked and made right here, so that the rest needs none.

use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{fence, AtomicU32, AtomicU64, AtomicU8, Ordering};

use rustix::mm::{MapFlags, ProtFlags};

use crate::memory::{check_range, check_word};
use crate::{AccessError, Error, Memory, Result};

/// Bytes that a copy moves in one step where it can.
const WORD: usize = size_of::<u64>();

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
    /// Stores may pass earlier stores: write-combining memory.
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
        let start = start.map_err(|error| Error::driver(error, "cannot map the memory"))?;
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

    fn writable(&self) -> Result<(), AccessError> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(AccessError::ReadOnly),
        }
    }

    /// Stores of this thread before it come before its stores after it.
    fn before_store(&self, order: Ordering) {
        // On x86 a release store waits for ordinary stores only, not for combined ones.
        if self.weak && order != Ordering::Relaxed {
            fence(Ordering::SeqCst);
        }
    }

    /// The byte at `index`, which is below `len`.
    fn byte(&self, index: usize) -> &AtomicU8 {
        debug_assert!(index < self.len);
        // SAFETY: In the mapping by the callers' checks, and mapped while `self` is borrowed. All access by
        // this process is atomic.
        unsafe { AtomicU8::from_ptr(self.start.as_ptr().wrapping_add(index)) }
    }

    fn word32(&self, offset: u64) -> Result<&AtomicU32, AccessError> {
        let index = check_word(offset, size_of::<u32>(), self.len)?;
        // SAFETY: In the mapping and aligned, as was just checked; otherwise as in `byte`.
        Ok(unsafe { AtomicU32::from_ptr(self.start.as_ptr().wrapping_add(index).cast()) })
    }

    fn word64(&self, offset: u64) -> Result<&AtomicU64, AccessError> {
        let index = check_word(offset, WORD, self.len)?;
        Ok(self.aligned(index))
    }

    /// The word at `index`, a multiple of 8 that is followed by 8 bytes of the mapping.
    fn aligned(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index % WORD == 0 && index + WORD <= self.len);
        // SAFETY: In the mapping and aligned by the callers' checks; otherwise as in `byte`.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().wrapping_add(index).cast()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: By the invariant this is our mapping, and no reference into it outlives `self`.
        let result = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert_eq!(result, Ok(()));
    }
}

/// Splits `len` bytes from `start` on into those before the first whole word, and whole words.
const fn split(start: usize, len: usize) -> (usize, usize) {
    let before = start.next_multiple_of(WORD) - start;
    if before > len {
        return (len, 0);
    }
    (before, (len - before) / WORD * WORD)
}

impl Memory for Mapping {
    fn size(&self) -> u64 {
        self.len as u64
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), AccessError> {
        let start = check_range(offset, into.len(), self.len)?;
        let (before, words) = split(start, into.len());
        let (first, rest) = into.split_at_mut(before);
        let (middle, last) = rest.split_at_mut(words);
        for (at, byte) in first.iter_mut().enumerate() {
            *byte = self.byte(start + at).load(Ordering::Relaxed);
        }
        for (at, chunk) in middle.chunks_exact_mut(WORD).enumerate() {
            let word = self.aligned(start + before + at * WORD);
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        for (at, byte) in last.iter_mut().enumerate() {
            *byte = self
                .byte(start + before + words + at)
                .load(Ordering::Relaxed);
        }
        Ok(())
    }

    fn write(&self, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        self.writable()?;
        let start = check_range(offset, from.len(), self.len)?;
        let (before, words) = split(start, from.len());
        let (first, rest) = from.split_at(before);
        let (middle, last) = rest.split_at(words);
        for (at, byte) in first.iter().enumerate() {
            self.byte(start + at).store(*byte, Ordering::Relaxed);
        }
        for (at, chunk) in middle.chunks_exact(WORD).enumerate() {
            let word = u64::from_ne_bytes(chunk.try_into().expect("chunks of 8 bytes"));
            self.aligned(start + before + at * WORD)
                .store(word, Ordering::Relaxed);
        }
        for (at, byte) in last.iter().enumerate() {
            self.byte(start + before + words + at)
                .store(*byte, Ordering::Relaxed);
        }
        Ok(())
    }

    fn load32(&self, offset: u64, order: Ordering) -> Result<u32, AccessError> {
        Ok(self.word32(offset)?.load(order))
    }

    fn store32(&self, offset: u64, value: u32, order: Ordering) -> Result<(), AccessError> {
        self.writable()?;
        let word = self.word32(offset)?;
        self.before_store(order);
        word.store(value, order);
        Ok(())
    }

    fn compare_exchange32(
        &self,
        offset: u64,
        current: u32,
        new: u32,
    ) -> Result<Result<u32, u32>, AccessError> {
        self.writable()?;
        let word = self.word32(offset)?;
        self.before_store(Ordering::SeqCst);
        Ok(word.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst))
    }

    fn compare_exchange64(
        &self,
        offset: u64,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        self.writable()?;
        let word = self.word64(offset)?;
        self.before_store(Ordering::SeqCst);
        Ok(word.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst))
    }

    fn fetch_add32(&self, offset: u64, add: u32) -> Result<u32, AccessError> {
        self.writable()?;
        let word = self.word32(offset)?;
        self.before_store(Ordering::SeqCst);
        Ok(word.fetch_add(add, Ordering::SeqCst))
    }

    fn load64(&self, offset: u64, order: Ordering) -> Result<u64, AccessError> {
        Ok(self.word64(offset)?.load(order))
    }

    fn store64(&self, offset: u64, value: u64, order: Ordering) -> Result<(), AccessError> {
        self.writable()?;
        let word = self.word64(offset)?;
        self.before_store(order);
        word.store(value, order);
        Ok(())
    }
}
