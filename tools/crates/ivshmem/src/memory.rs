// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Access to memory that others change, without ever forming a reference into it.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{fence, Ordering};
use std::sync::Arc;

/// Why an access to shared memory was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// It would leave the memory.
    #[error("{}", outside(*offset, *len, *size))]
    OutOfBounds {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
        /// Size of the memory.
        size: u64,
    },
    /// An atomic access at an offset that is no multiple of its width.
    #[error("offset {offset} is not a multiple of {width}")]
    Misaligned {
        /// First byte.
        offset: u64,
        /// Width in bytes.
        width: u64,
    },
    /// The memory is mapped for reading only.
    #[error("the memory is mapped for reading only")]
    ReadOnly,
}

fn outside(offset: u64, len: u64, size: u64) -> String {
    let amount = amount(size);
    if offset >= size {
        return format!("offset {offset:#x} is not inside of the memory, which has {amount}");
    }
    let last = offset.saturating_add(len).saturating_sub(1);
    format!("bytes {offset:#x} to {last:#x} are not all inside of the memory, which has {amount}")
}

/// Bytes, in the largest unit in which that is exact.
fn amount(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let exact = |(_, shift): &&(&str, u32)| bytes >> shift != 0 && bytes.trailing_zeros() >= *shift;
    match units.iter().find(exact) {
        Some((unit, shift)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

/// Memory that other guests or processes read and write at the same time.
///
/// Offsets and lengths are in bytes. Numbers are in the CPU's byte order. Every access is checked; one that
/// is refused has no effect.
///
/// Copies are not atomic as a whole and order nothing. The atomic operations order as those of
/// [`std::sync::atomic`] do, copies included, also on memory that is not mapped write-back: a
/// [`Release`](Ordering::Release) store comes after all earlier copies, and an [`Acquire`](Ordering::Acquire) load
/// before all later ones.
pub trait Memory {
    /// Size in bytes.
    fn size(&self) -> u64;

    /// Copies `into.len()` bytes out of the memory.
    ///
    /// # Errors
    ///
    /// [`AccessError::OutOfBounds`].
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), AccessError>;

    /// Copies `len` bytes out of the memory to the end of `into`. Unlike [`read`](Self::read), what is there need not have a value
    /// before, which costs as much as copying again.
    ///
    /// # Errors
    ///
    /// [`AccessError::OutOfBounds`].
    fn append(&self, offset: u64, len: usize, into: &mut Vec<u8>) -> Result<(), AccessError> {
        let before = into.len();
        check_range(
            offset,
            len,
            usize::try_from(self.size()).unwrap_or(usize::MAX),
        )?;
        into.resize(before + len, 0);
        self.read(offset, &mut into[before..])
    }

    /// Copies `from` into the memory.
    ///
    /// # Errors
    ///
    /// [`AccessError::OutOfBounds`], [`AccessError::ReadOnly`].
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), AccessError>;

    /// Loads an aligned 32-bit word. `order` is Relaxed, Acquire or SeqCst; others panic, as in std.
    ///
    /// # Errors
    ///
    /// [`AccessError::OutOfBounds`], [`AccessError::Misaligned`].
    fn load32(&self, offset: u64, order: Ordering) -> Result<u32, AccessError>;

    /// Stores an aligned 32-bit word. `order` is Relaxed, Release or SeqCst; others panic, as in std.
    ///
    /// # Errors
    ///
    /// All of [`AccessError`].
    fn store32(&self, offset: u64, value: u32, order: Ordering) -> Result<(), AccessError>;

    /// Replaces an aligned 32-bit word by `new` if it is `current`, in one step that is sequentially
    /// consistent. `Ok(Err(value))` is what was there instead.
    ///
    /// Between guests this needs memory that is mapped write-back.
    ///
    /// # Errors
    ///
    /// All of [`AccessError`].
    fn compare_exchange32(
        &self,
        offset: u64,
        current: u32,
        new: u32,
    ) -> Result<Result<u32, u32>, AccessError>;

    /// Replaces an aligned 64-bit word; see [`compare_exchange32`](Self::compare_exchange32).
    ///
    /// # Errors
    ///
    /// All of [`AccessError`].
    fn compare_exchange64(
        &self,
        offset: u64,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError>;

    /// Adds to an aligned 32-bit word, wrapping, in one step that is sequentially consistent. Returns what
    /// was there before.
    ///
    /// Between guests this needs memory that is mapped write-back.
    ///
    /// # Errors
    ///
    /// All of [`AccessError`].
    fn fetch_add32(&self, offset: u64, add: u32) -> Result<u32, AccessError>;

    /// Loads an aligned 64-bit word; see [`load32`](Self::load32).
    ///
    /// # Errors
    ///
    /// As [`load32`](Self::load32).
    fn load64(&self, offset: u64, order: Ordering) -> Result<u64, AccessError>;

    /// Stores an aligned 64-bit word; see [`store32`](Self::store32).
    ///
    /// # Errors
    ///
    /// As [`store32`](Self::store32).
    fn store64(&self, offset: u64, value: u64, order: Ordering) -> Result<(), AccessError>;

    /// A full barrier: stores before it are visible before loads after it are made.
    #[inline]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }

    /// As [`fence`](Self::fence), right after an operation that replaces a word: on some machines that one is a full
    /// barrier already.
    #[inline]
    fn fence_after_exchange(&self) {
        self.fence();
    }

    /// A barrier for loads: those before it, copies included, are made before those after it. Whoever copies something
    /// and then looks whether it was changed meanwhile needs it in between.
    #[inline]
    fn fence_loads(&self) {
        fence(Ordering::Acquire);
    }

    /// Whether the operations that replace a word work between guests. They do not on memory that is not mapped
    /// write-back, but for x86.
    fn can_exchange(&self) -> bool {
        true
    }

    /// Where `len` bytes from byte `offset` on are in this process, for code in other languages that works on them in
    /// place; `None` if not all of them are in the memory, or it is not mapped. They can change at any time, so no reference
    /// to them may be made, and they are there only as long as the memory is mapped. If that is for reading only, they must not be written.
    fn address(&self, _offset: u64, _len: usize) -> Option<NonNull<u8>> {
        None
    }
}

/// The first byte of an access as an index, if all of it is inside.
///
/// # Errors
///
/// [`AccessError::OutOfBounds`].
#[inline]
pub(crate) fn check_range(offset: u64, len: usize, size: usize) -> Result<usize, AccessError> {
    usize::try_from(offset)
        .ok()
        .filter(|start| start.checked_add(len).is_some_and(|end| end <= size))
        .ok_or(AccessError::OutOfBounds {
            offset,
            len: len as u64,
            size: size as u64,
        })
}

/// As [`check_range`], for an atomic access of `width` bytes.
#[inline]
pub(crate) fn check_word(offset: u64, width: usize, size: usize) -> Result<usize, AccessError> {
    let start = check_range(offset, width, size)?;
    if start % width != 0 {
        return Err(AccessError::Misaligned {
            offset,
            width: width as u64,
        });
    }
    Ok(start)
}

/// Implements [`Memory`] for a type that holds or refers to one: generic parameters in braces, the type, and
/// the function that gets from it to the memory.
///
/// ```
/// struct Area {
///     mapping: ivshmem::Mapping,
/// }
///
/// impl Area {
///     fn mapping(&self) -> &ivshmem::Mapping {
///         &self.mapping
///     }
/// }
///
/// ivshmem::forward_memory!({} Area, Area::mapping);
/// ```
#[macro_export]
macro_rules! forward_memory {
    ({$($generics:tt)*} $holder:ty, $memory:path) => {
        impl<$($generics)*> $crate::Memory for $holder {
            #[inline]
            fn size(&self) -> u64 {
                $memory(self).size()
            }
            #[inline]
            fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), $crate::AccessError> {
                $memory(self).read(offset, into)
            }
            #[inline]
            fn append(
                &self,
                offset: u64,
                len: usize,
                into: &mut Vec<u8>,
            ) -> Result<(), $crate::AccessError> {
                $memory(self).append(offset, len, into)
            }
            #[inline]
            fn write(&self, offset: u64, from: &[u8]) -> Result<(), $crate::AccessError> {
                $memory(self).write(offset, from)
            }
            #[inline]
            fn load32(
                &self,
                offset: u64,
                order: ::std::sync::atomic::Ordering,
            ) -> Result<u32, $crate::AccessError> {
                $memory(self).load32(offset, order)
            }
            #[inline]
            fn store32(
                &self,
                offset: u64,
                value: u32,
                order: ::std::sync::atomic::Ordering,
            ) -> Result<(), $crate::AccessError> {
                $memory(self).store32(offset, value, order)
            }
            #[inline]
            fn compare_exchange32(
                &self,
                offset: u64,
                current: u32,
                new: u32,
            ) -> Result<Result<u32, u32>, $crate::AccessError> {
                $memory(self).compare_exchange32(offset, current, new)
            }
            #[inline]
            fn compare_exchange64(
                &self,
                offset: u64,
                current: u64,
                new: u64,
            ) -> Result<Result<u64, u64>, $crate::AccessError> {
                $memory(self).compare_exchange64(offset, current, new)
            }
            #[inline]
            fn fetch_add32(&self, offset: u64, add: u32) -> Result<u32, $crate::AccessError> {
                $memory(self).fetch_add32(offset, add)
            }
            #[inline]
            fn load64(
                &self,
                offset: u64,
                order: ::std::sync::atomic::Ordering,
            ) -> Result<u64, $crate::AccessError> {
                $memory(self).load64(offset, order)
            }
            #[inline]
            fn store64(
                &self,
                offset: u64,
                value: u64,
                order: ::std::sync::atomic::Ordering,
            ) -> Result<(), $crate::AccessError> {
                $memory(self).store64(offset, value, order)
            }
            #[inline]
            fn fence(&self) {
                $memory(self).fence()
            }
            #[inline]
            fn fence_after_exchange(&self) {
                $memory(self).fence_after_exchange()
            }
            #[inline]
            fn fence_loads(&self) {
                $memory(self).fence_loads()
            }
            fn can_exchange(&self) -> bool {
                $memory(self).can_exchange()
            }
            fn address(&self, offset: u64, len: usize) -> Option<::std::ptr::NonNull<u8>> {
                $memory(self).address(offset, len)
            }
        }
    };
}

forward_memory!({T: Memory + ?Sized} &T, Deref::deref);
forward_memory!({T: Memory + ?Sized} Arc<T>, Deref::deref);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_is_said_without_counting_bytes() {
        let said = |offset, len| {
            let size = 4 << 20;
            AccessError::OutOfBounds { offset, len, size }.to_string()
        };
        let beyond = "offset 0x400000 is not inside of the memory, which has 4 MiB";
        assert_eq!(said(4 << 20, 4), beyond);
        let part = "bytes 0x3ffffe to 0x400001 are not all inside of the memory, which has 4 MiB";
        assert_eq!(said(0x3f_fffe, 4), part);
        assert!(said(u64::MAX, 4).starts_with("offset 0xffffffffffffffff is not"));
        assert_eq!(amount(4097), "4097 bytes");
    }
}
