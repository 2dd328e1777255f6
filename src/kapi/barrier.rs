// SPDX-License-Identifier: GPL-2.0

//! Barriers towards the shared memory, which another machine reads and writes.
//!
//! The memory may be mapped write-combining, for which the barriers between CPUs (`smp_wmb()`) and
//! the ordering inside of `writel()` are not enough on x86. A file of its own, as the names move
//! between releases of the `kernel` crate.

use kernel::sync::barrier::{
    mb,
    Read,
    Write, //
};

/// `rmb()`: what was read before is read before what is read after.
pub(crate) fn read_barrier() {
    mb(Read);
}

/// `wmb()`: what was written before, by this CPU, is visible before what is written after.
pub(crate) fn write_barrier() {
    mb(Write);
}
