// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Threads on processors of their own.

use rustix::thread::{sched_setaffinity, CpuSet};

/// Lets this thread run on processor `cpu` alone. Where that may not be, it runs anywhere.
pub fn to(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    let _ = sched_setaffinity(None, &set);
}
