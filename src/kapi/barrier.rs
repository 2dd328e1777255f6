// SPDX-License-Identifier: GPL-2.0

//! Memory barriers: between CPUs, and towards the shared memory, which another machine reads and
//! writes.
//!
//! That memory may be mapped write-combining, for which the barriers between CPUs (`smp_wmb()`) and
//! the ordering inside of `writel()` are not enough on x86.

pub(crate) use series::*;

#[cfg(not(before_7_3))]
mod series {
    use kernel::sync::barrier::{
        mb,
        smp_mb,
        Full,
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

    /// `smp_mb()`: for other CPUs, accesses to memory before it come before those after it.
    pub(crate) fn smp_full_barrier() {
        smp_mb(Full);
    }
}

#[cfg(before_7_3)]
mod series {
    use crate::kapi::helpers;

    pub(crate) use kernel::sync::barrier::smp_mb as smp_full_barrier;

    pub(crate) fn read_barrier() {
        helpers::ivshmem_rmb();
    }

    pub(crate) fn write_barrier() {
        helpers::ivshmem_wmb();
    }
}
