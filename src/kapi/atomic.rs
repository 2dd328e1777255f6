// SPDX-License-Identifier: GPL-2.0

//! Loads of atomics without a call.
//!
//! `Atomic::load` calls a C function, as all operations of atomics do, for what is one instruction.
//! On the way of an event there are a dozen, most of them in a loop over vectors.

use kernel::sync::atomic::{
    Atomic,
    AtomicType, //
};

/// `READ_ONCE()`: what `load(Relaxed)` returns. Any context.
#[inline(always)]
pub(crate) fn read_once<T: AtomicType>(atomic: &Atomic<T>) -> T {
    // SAFETY: An atomic is valid, aligned and no larger than a word. Others may write it meanwhile,
    // with atomic operations only; in the kernel's memory model a volatile read of a word is one.
    unsafe { atomic.as_ptr().read_volatile() }
}
