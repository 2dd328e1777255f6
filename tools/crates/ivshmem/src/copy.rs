// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Copies between shared and private memory, while others may write to the shared side.
//!
//! A plain copy would be a data race, which is undefined behaviour in Rust. Relaxed atomic accesses are not, but the
//! compiler moves no more than a word by each. So on x86-64 the copies are assembly: an `asm!` block may do what some
//! Rust code could do in its place, and what these do is a relaxed atomic access for each byte, in no particular order.
#![allow(unsafe_code)] // The callers check the ranges.

use std::mem::MaybeUninit;

/// Copies `into.len()` bytes from `shared` on, all of which have values then. `weak`: the memory is not write-back.
///
/// # Safety
///
/// So many bytes are mapped for reading there, and this process has no reference to them but atomics.
#[inline]
pub(crate) unsafe fn read(shared: *const u8, into: &mut [MaybeUninit<u8>], weak: bool) {
    // SAFETY: The caller's promise.
    unsafe { fast::read(shared, into, weak) }
}

/// Copies `from` to `shared`.
///
/// # Safety
///
/// As many bytes are mapped for reading and writing there, and this process has no reference to them but atomics.
#[inline]
pub(crate) unsafe fn write(shared: *mut u8, from: &[u8], weak: bool) {
    // SAFETY: The caller's promise.
    unsafe { fast::write(shared, from, weak) }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod fast {
    use std::arch::asm;
    use std::mem::MaybeUninit;

    /// From here on the string instruction is faster than a loop.
    const STRING: usize = 1024;

    /// # Safety
    ///
    /// As [`read`](super::read).
    #[inline]
    pub unsafe fn read(shared: *const u8, into: &mut [MaybeUninit<u8>], weak: bool) {
        // SAFETY: The caller's promise, and the slice's own bytes.
        unsafe { copy(shared, into.as_mut_ptr().cast(), into.len(), weak) }
    }

    /// # Safety
    ///
    /// As [`write`](super::write).
    #[inline]
    pub unsafe fn write(shared: *mut u8, from: &[u8], weak: bool) {
        // SAFETY: The caller's promise, and the slice's own bytes.
        unsafe { copy(from.as_ptr(), shared, from.len(), weak) }
    }

    /// # Safety
    ///
    /// `len` bytes are readable at `from` and writable at `to`, and do not overlap.
    #[inline]
    unsafe fn copy(from: *const u8, to: *mut u8, len: usize, weak: bool) {
        match len {
            // Memory that is not cached is moved in pieces of the instruction's own width: not byte by byte.
            // SAFETY: The caller's promise.
            STRING.. if !weak => unsafe { string(from, to, len) },
            // SAFETY: The caller's promise, and the length is that of this case.
            16.. => unsafe { vectors(from, to, len) },
            // SAFETY: The caller's promise, and the length is that of this case.
            8.. => unsafe { pair8(from, to, len) },
            // SAFETY: The caller's promise, and the length is that of this case.
            4.. => unsafe { pair4(from, to, len) },
            _ => {
                for at in 0..len {
                    let (from, to) = (from.wrapping_add(at), to.wrapping_add(at));
                    // SAFETY: The caller's promise, for one byte of them.
                    unsafe {
                        asm!("mov {b}, [{f}]", "mov [{t}], {b}", b = out(reg_byte) _, f = in(reg) from,
                             t = in(reg) to, options(nostack, preserves_flags));
                    }
                }
            }
        }
    }

    /// # Safety
    ///
    /// As [`copy`].
    #[inline]
    unsafe fn string(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: The caller's promise; the direction flag is clear in every `asm!` block.
        unsafe {
            asm!("rep movsb", inout("rcx") len => _, inout("rsi") from => _, inout("rdi") to => _,
                 options(nostack, preserves_flags));
        }
    }

    /// # Safety
    ///
    /// As [`copy`], and `len` is at least 16.
    #[inline]
    unsafe fn vectors(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: The caller's promise: pieces of 16 bytes from 0 on while they end before the last one, and the last.
        unsafe {
            asm!("2:",
                 "movups {a}, [{f} + {at}]",
                 "movups [{t} + {at}], {a}",
                 "add {at}, 16",
                 "cmp {at}, {last}",
                 "jb 2b",
                 "movups {a}, [{f} + {last}]",
                 "movups [{t} + {last}], {a}",
                 a = out(xmm_reg) _, at = inout(reg) 0usize => _, last = in(reg) len - 16, f = in(reg) from,
                 t = in(reg) to, options(nostack));
        }
    }

    /// # Safety
    ///
    /// As [`copy`], and `len` is 8 to 16.
    #[inline]
    unsafe fn pair8(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: The caller's promise: the first and the last 8 bytes, which may overlap.
        unsafe {
            asm!("mov {a}, [{f}]", "mov {b}, [{f} + {last}]", "mov [{t}], {a}", "mov [{t} + {last}], {b}",
                 a = out(reg) _, b = out(reg) _, last = in(reg) len - 8, f = in(reg) from, t = in(reg) to,
                 options(nostack, preserves_flags));
        }
    }

    /// # Safety
    ///
    /// As [`copy`], and `len` is 4 to 8.
    #[inline]
    unsafe fn pair4(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: The caller's promise: the first and the last 4 bytes, which may overlap.
        unsafe {
            asm!("mov {a:e}, [{f}]", "mov {b:e}, [{f} + {last}]", "mov [{t}], {a:e}", "mov [{t} + {last}], {b:e}",
                 a = out(reg) _, b = out(reg) _, last = in(reg) len - 4, f = in(reg) from, t = in(reg) to,
                 options(nostack, preserves_flags));
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod fast {
    use std::mem::MaybeUninit;
    use std::sync::atomic::{AtomicU64, AtomicU8, Ordering::Relaxed};

    const WORD: usize = size_of::<u64>();

    /// The bytes before the first whole word of `shared`, and how many there are in whole words after them.
    fn split(shared: *const u8, len: usize) -> (usize, usize) {
        let before = (shared.addr().next_multiple_of(WORD) - shared.addr()).min(len);
        (before, (len - before) / WORD * WORD)
    }

    /// # Safety
    ///
    /// As [`read`](super::read).
    pub unsafe fn read(shared: *const u8, into: &mut [MaybeUninit<u8>], _weak: bool) {
        let (before, words) = split(shared, into.len());
        for at in (0..before).chain(before + words..into.len()) {
            // SAFETY: One of the caller's bytes.
            let byte = unsafe { AtomicU8::from_ptr(shared.wrapping_add(at).cast_mut()) };
            into[at].write(byte.load(Relaxed));
        }
        for (at, chunk) in into[before..][..words].chunks_exact_mut(WORD).enumerate() {
            let word = shared.wrapping_add(before + at * WORD).cast_mut().cast();
            // SAFETY: Aligned after `before` bytes, and all of it the caller's.
            let word = unsafe { AtomicU64::from_ptr(word) }.load(Relaxed);
            for (into, byte) in chunk.iter_mut().zip(word.to_ne_bytes()) {
                into.write(byte);
            }
        }
    }

    /// # Safety
    ///
    /// As [`write`](super::write).
    pub unsafe fn write(shared: *mut u8, from: &[u8], _weak: bool) {
        let (before, words) = split(shared, from.len());
        for at in (0..before).chain(before + words..from.len()) {
            // SAFETY: One of the caller's bytes.
            let byte = unsafe { AtomicU8::from_ptr(shared.wrapping_add(at)) };
            byte.store(from[at], Relaxed);
        }
        for (at, chunk) in from[before..][..words].chunks_exact(WORD).enumerate() {
            let value = u64::from_ne_bytes(chunk.try_into().expect("chunks of 8 bytes"));
            let word = shared.wrapping_add(before + at * WORD).cast();
            // SAFETY: Aligned after `before` bytes, and all of it the caller's.
            unsafe { AtomicU64::from_ptr(word) }.store(value, Relaxed);
        }
    }
}
