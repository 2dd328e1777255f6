// SPDX-License-Identifier: GPL-2.0

//! Event counters of user space.
//!
//! C header: [`include/linux/eventfd.h`](srctree/include/linux/eventfd.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::from_err_ptr,
    prelude::*, //
};

/// A reference to an eventfd.
///
/// # Invariants
///
/// The pointer is to a `struct eventfd_ctx` of which this type owns one reference.
pub(crate) struct EventFd(NonNull<bindings::eventfd_ctx>);

// SAFETY: `struct eventfd_ctx` is reference-counted and has a lock of its own; no function on it
// depends on the calling thread.
unsafe impl Send for EventFd {}

// SAFETY: As for `Send`: `eventfd_signal_mask` may be called from several threads at once.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// Takes a reference to the eventfd behind descriptor `fd` of the current process.
    ///
    /// `EBADF` if nothing is open there, `EINVAL` if it is something else. May not be called from
    /// interrupt context.
    pub(crate) fn from_fd(fd: i32) -> Result<Self> {
        // SAFETY: The function accepts any number.
        let ctx = from_err_ptr(unsafe { bindings::eventfd_ctx_fdget(fd) })?;
        // INVARIANT: `eventfd_ctx_fdget` returned a context together with a reference to it.
        NonNull::new(ctx).map(Self).ok_or(EINVAL)
    }

    /// Adds 1 to the counter and wakes who waits for it. Any context, also hard interrupt.
    pub(crate) fn signal(&self) {
        // SAFETY: The pointer is valid by the type invariant; the function may be called in any
        // context. A mask of 0 is what `eventfd_signal()` passes.
        unsafe { bindings::eventfd_signal_mask(self.0.as_ptr(), 0) };
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is one reference to give back.
        unsafe { bindings::eventfd_ctx_put(self.0.as_ptr()) };
    }
}
