// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Between C and Rust: pointers, panics, times.

use std::ffi::{c_char, c_void, CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::Duration;

use crate::error::{keep, Failure};

/// What functions return: a number that is not negative, or the negative number of an error.
pub(crate) trait Status {
    fn failed(errno: i32) -> Self;
}

impl Status for i32 {
    fn failed(errno: i32) -> Self {
        -errno
    }
}

impl Status for i64 {
    fn failed(errno: i32) -> Self {
        i64::from(-errno)
    }
}

/// What a function does. No panic leaves it.
pub(crate) fn guard<S: Status>(body: impl FnOnce() -> Result<S, Failure>) -> S {
    // What a panic leaves half done is the handle's own, and its calls check what they use.
    let result = catch_unwind(AssertUnwindSafe(body));
    match result.unwrap_or(Err(Failure::Panic)) {
        Ok(status) => status,
        Err(failure) => S::failed(keep(failure)),
    }
}

/// Frees a handle, and nothing if it is null.
pub(crate) fn free<T>(handle: Option<Box<T>>) {
    // Nobody is told: the handle is gone in any case.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(handle)));
}

/// What a pointer points to that must not be null. `name` is for the text.
pub(crate) fn some<T>(pointer: Option<T>, name: &'static str) -> Result<T, Failure> {
    pointer.ok_or(Failure::Null(name))
}

/// Gives out a new handle; a null pointer if there is none.
pub(crate) fn give<T>(
    out: Option<&mut MaybeUninit<*mut T>>,
    make: impl FnOnce() -> Result<T, Failure>,
) -> Result<i32, Failure> {
    let out = some(out, "the place for the handle")?.write(std::ptr::null_mut());
    *out = Box::into_raw(Box::new(make()?));
    Ok(0)
}

/// Gives out a number that nobody need be interested in.
pub(crate) fn tell<T>(out: Option<&mut MaybeUninit<T>>, value: T) {
    if let Some(out) = out {
        out.write(value);
    }
}

/// A time limit as callers give it: negative is for ever.
pub(crate) fn timeout(nanoseconds: i64) -> Option<Duration> {
    u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
}

/// A length as functions return it.
pub(crate) fn length(len: usize) -> i64 {
    // CAST: No slice has more bytes than that.
    len as i64
}

/// Looks at a pointer to `len` elements: `None` if there are none.
fn elements<P>(is_null: bool, len: usize, size: usize, pointer: P) -> Result<Option<P>, Failure> {
    if len == 0 {
        return Ok(None);
    }
    if is_null {
        return Err(Failure::Null("the buffer"));
    }
    match len.checked_mul(size) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(Some(pointer)),
        _ => Err(Failure::Argument("the length is more than there can be")),
    }
}

/// Elements of the caller's that are read.
///
/// # Safety
///
/// Unless `len` is 0, `at` is null, or points to `len` elements that nobody changes during the call of the caller's.
pub(crate) unsafe fn read_only<'a, T>(at: *const T, len: usize) -> Result<&'a [T], Failure> {
    let Some(at) = elements(at.is_null(), len, size_of::<T>(), at)? else {
        return Ok(&[]);
    };
    if !at.is_aligned() {
        return Err(Failure::Argument("a pointer is not aligned"));
    }
    // SAFETY: It is aligned and not null, the elements are there and do not change, by the caller's promise, and are not
    // more bytes than there can be.
    Ok(unsafe { std::slice::from_raw_parts(at, len) })
}

/// Elements of the caller's that are written.
///
/// # Safety
///
/// Unless `len` is 0, `at` is null, or points to `len` elements that nobody else uses during the call of the caller's.
pub(crate) unsafe fn written<'a, T>(
    at: *mut T,
    len: usize,
) -> Result<&'a mut [MaybeUninit<T>], Failure> {
    let Some(at) = elements(at.is_null(), len, size_of::<T>(), at)? else {
        return Ok(&mut []);
    };
    if !at.is_aligned() {
        return Err(Failure::Argument("a pointer is not aligned"));
    }
    // SAFETY: It is aligned and not null, nobody else uses the elements, by the caller's promise, and they are not more
    // bytes than there can be. They need not have values.
    Ok(unsafe { std::slice::from_raw_parts_mut(at.cast(), len) })
}

/// Bytes of the caller's that are read.
///
/// # Safety
///
/// As [`read_only`].
pub(crate) unsafe fn bytes<'a>(at: *const c_void, len: usize) -> Result<&'a [u8], Failure> {
    // SAFETY: The caller's promise is the same.
    unsafe { read_only(at.cast(), len) }
}

/// Bytes of the caller's to copy to.
///
/// # Safety
///
/// As [`written`].
pub(crate) unsafe fn buffer<'a>(at: *mut c_void, len: usize) -> Result<&'a mut [u8], Failure> {
    // SAFETY: The caller's promise is the same.
    let bytes = unsafe { written::<u8>(at.cast(), len)? };
    // SAFETY: Bytes have any value; those that C has not set have one that is not known. They are only written here.
    Ok(unsafe { &mut *(std::ptr::from_mut(bytes) as *mut [u8]) })
}

/// A string of the caller's.
///
/// # Safety
///
/// `at` is null, or points to a string that ends with a zero byte, and that nobody changes during the call of the
/// caller's.
pub(crate) unsafe fn text<'a>(at: *const c_char, name: &'static str) -> Result<&'a OsStr, Failure> {
    if at.is_null() {
        return Err(Failure::Null(name));
    }
    // SAFETY: It is not null, and ends with a zero byte and does not change, by the caller's promise.
    let text = unsafe { CStr::from_ptr(at) };
    Ok(OsStr::from_bytes(text.to_bytes()))
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use rustix::io::Errno;

    use super::*;
    use crate::error::ivshmem_channel_error;

    fn said() -> String {
        // SAFETY: It is a string, and this thread does not call the library before it is copied.
        let said = unsafe { CStr::from_ptr(ivshmem_channel_error()) };
        said.to_str().unwrap().into()
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let status: i32 = guard(|| panic!("as a mistake in the library would"));
        assert_eq!(status, -Errno::NOTRECOVERABLE.raw_os_error());
        assert!(said().contains("please report"), "{}", said());
        let mut out = MaybeUninit::new(std::ptr::dangling_mut::<u8>());
        let status: i32 = guard(|| give(Some(&mut out), || panic!("in the same way")));
        assert_eq!(status, -Errno::NOTRECOVERABLE.raw_os_error());
        // SAFETY: It was initialised above.
        assert!(unsafe { out.assume_init() }.is_null());
        struct Spoilt;
        impl Drop for Spoilt {
            fn drop(&mut self) {
                panic!("once more")
            }
        }
        free(Some(Box::new(Spoilt)));
    }

    #[test]
    fn an_error_keeps_its_causes_and_stays_until_the_next_one() {
        let cause = std::io::Error::from_raw_os_error(Errno::ACCESS.raw_os_error());
        let status: i64 = guard(|| Err(ivshmem::Error::io(cause, "cannot try this").into()));
        assert_eq!(status, -i64::from(Errno::ACCESS.raw_os_error()));
        let status: i32 = guard(|| Ok(0));
        assert_eq!(status, 0);
        assert!(said().starts_with("cannot try this: "), "{}", said());
        assert_eq!(said(), said());
        std::thread::spawn(|| assert_eq!(said(), ""))
            .join()
            .unwrap();
    }

    #[test]
    fn lengths_that_cannot_be_and_crooked_pointers_are_refused() {
        let words = [0u32; 2];
        let refused = |at: *const u32, len| {
            // SAFETY: There are as many words, or none of them is looked at.
            unsafe { read_only(at, len) }.is_err()
        };
        assert!(!refused(words.as_ptr(), 2) && !refused(std::ptr::null(), 0));
        assert!(refused(std::ptr::null(), 1));
        assert!(refused(words.as_ptr(), usize::MAX) && refused(words.as_ptr(), usize::MAX / 4));
        assert!(refused(words.as_ptr().wrapping_byte_add(1), 1));
    }
}
