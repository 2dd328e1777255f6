// SPDX-License-Identifier: GPL-2.0

//! Values of known size from and to user memory.
//!
//! `kernel::uaccess` has this for its own traits only; for those of `zerocopy`, which the
//! interface's structures derive on the host too, it has slices, whose size is checked at run time.

use core::mem::MaybeUninit;

use kernel::{
    bindings,
    prelude::*, //
};
use zerocopy::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

/// Reads a value at user address `address`; `EFAULT` if that cannot be read. May sleep.
pub(crate) fn read<T: FromBytes>(address: usize) -> Result<T> {
    let mut value = [MaybeUninit::<T>::uninit()];
    fill(address, &mut value)?;
    let [value] = value;
    // SAFETY: All bytes were written, and any bytes are a value of a `FromBytes` type.
    Ok(unsafe { value.assume_init() })
}

/// Fills `values` from user address `address`; `EFAULT` if that cannot be read, then `values` may
/// have changed. May sleep.
pub(crate) fn read_slice<T: FromBytes + IntoBytes>(address: usize, values: &mut [T]) -> Result {
    let start = values.as_mut_ptr().cast();
    // SAFETY: A `MaybeUninit<T>` has the layout of a `T`. `fill` writes whole bytes and never makes
    // one uninitialised, so that what is in `values` stays a value of its `FromBytes` type.
    fill::<T>(address, unsafe {
        core::slice::from_raw_parts_mut(start, values.len())
    })
}

/// Calls `f` with `count` values from user address `address`, which are kept on the stack: `N` at
/// the most. `EFAULT` if they cannot be read, `EINVAL` if they are more. May sleep.
pub(crate) fn with_few<T: FromBytes, const N: usize, R>(
    address: usize,
    count: usize,
    f: impl FnOnce(&[T]) -> Result<R>,
) -> Result<R> {
    let mut values = [const { MaybeUninit::<T>::uninit() }; N];
    let values = values.get_mut(..count).ok_or(EINVAL)?;
    fill(address, values)?;
    // SAFETY: All bytes of all `count` values were written, and any bytes are a value of a
    // `FromBytes` type.
    f(unsafe { core::slice::from_raw_parts(values.as_ptr().cast(), count) })
}

/// Writes all bytes of `values` from user address `address`, or returns `EFAULT`. May sleep.
fn fill<T>(address: usize, values: &mut [MaybeUninit<T>]) -> Result {
    // SAFETY: `values` can be written to in the length given; the function checks the address.
    let left = unsafe {
        bindings::_copy_from_user(
            values.as_mut_ptr().cast(),
            core::ptr::with_exposed_provenance(address),
            size_of_val(values),
        )
    };
    if left != 0 {
        return Err(EFAULT);
    }
    Ok(())
}

/// Writes a value to user address `address`; `EFAULT` if that cannot be written. May sleep.
pub(crate) fn write<T: IntoBytes + Immutable>(address: usize, value: &T) -> Result {
    // SAFETY: `value` can be read in the length given and has no padding, as an `IntoBytes` type;
    // the function checks the address.
    let left = unsafe {
        bindings::_copy_to_user(
            core::ptr::with_exposed_provenance_mut(address),
            core::ptr::from_ref(value).cast(),
            size_of::<T>(),
        )
    };
    if left != 0 {
        return Err(EFAULT);
    }
    Ok(())
}
