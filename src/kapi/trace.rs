// SPDX-License-Identifier: GPL-2.0

//! The tracepoints of `trace.h`. Where nobody listens, each is a jump that is not taken.
//!
//! `kernel::tracepoint::declare_trace!` does the same for events that the `kernel` crate's bindings
//! know, which those of a module outside of the tree are not among.

/// Calls `$call`, with `$argument`s, if somebody listens to the event.
macro_rules! trace {
    ($key:ident, $call:ident($($argument:expr),*)) => {
        #[cfg(CONFIG_TRACEPOINTS)]
        {
            // SAFETY: The key of a tracepoint is always there, and only looked at.
            let listening = unsafe {
                kernel::jump_label::static_branch_unlikely!(
                    $key,
                    kernel::bindings::tracepoint,
                    key
                )
            };
            if listening {
                // SAFETY: Takes numbers only, and may be called in any context.
                unsafe { $call($($argument),*) };
            }
        }
        #[cfg(not(CONFIG_TRACEPOINTS))]
        {
            $( let _ = $argument; )*
        }
    };
}

#[cfg(CONFIG_TRACEPOINTS)]
// The names and signatures are those of `trace.c` and of what its macros make.
#[allow(improper_ctypes, reason = "the kernel's own structures")]
unsafe extern "C" {
    static __tracepoint_ivshmem_interrupt: kernel::bindings::tracepoint;
    static __tracepoint_ivshmem_ring: kernel::bindings::tracepoint;

    fn ivshmem_do_trace_interrupt(device: u32, vector: u32, seq: u64);
    fn ivshmem_do_trace_ring(device: u32, peer: u32, vector: u32);
}

/// An interrupt of `vector` was counted as the `seq`th. Any context.
#[inline(always)]
pub(crate) fn interrupt(device: u32, vector: u32, seq: u64) {
    trace!(
        __tracepoint_ivshmem_interrupt,
        ivshmem_do_trace_interrupt(device, vector, seq)
    );
}

/// A doorbell is about to be rung. Any context.
#[inline(always)]
pub(crate) fn ring(device: u32, peer: u32, vector: u32) {
    trace!(
        __tracepoint_ivshmem_ring,
        ivshmem_do_trace_ring(device, peer, vector)
    );
}
