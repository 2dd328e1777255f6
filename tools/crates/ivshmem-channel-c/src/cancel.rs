// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The end of waits, from another thread.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use rustix::io::Errno;

use crate::boundary::{free, give, guard, some};
use crate::error::Failure;

/// Ends waits from another thread or from a signal handler. Threads may share it.
pub struct Cancel(ivshmem_channel::Cancel);

/// Makes one that was not used yet.
///
/// Returns 0; -EMFILE or -ENFILE if there can be no more open files; -EINVAL if `cancel` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_cancel_new(
    cancel: Option<&mut MaybeUninit<*mut Cancel>>,
) -> c_int {
    guard(|| give(cancel, || Ok(Cancel(ivshmem_channel::Cancel::new()?))))
}

/// Ends all waits that it was given to, now and later, with -ECANCELED. What is there is still received, and where there
/// is room messages are still sent. Does not block; may be called from any thread and from a signal handler.
///
/// Returns 0; -EINVAL if `cancel` is null, of which ivshmem_channel_error() knows nothing.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_cancel_use(cancel: Option<&Cancel>) -> c_int {
    // Not by `guard`: what is kept of a failure is on the heap, which a signal handler may have interrupted.
    let Some(Cancel(cancel)) = cancel else {
        return -Errno::INVAL.raw_os_error();
    };
    cancel.cancel();
    0
}

/// Frees the handle, and nothing if it is null. What it was given to can be cancelled no more.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_cancel_free(cancel: Option<Box<Cancel>>) {
    free(cancel);
}

/// What programs give where waits shall be cancelled.
pub(crate) fn cancel(cancel: Option<&Cancel>) -> Result<&ivshmem_channel::Cancel, Failure> {
    Ok(&some(cancel, "the cancel handle")?.0)
}

/// The same where a null pointer is for none.
pub(crate) fn cancel_or_none(cancel: Option<&Cancel>) -> Option<&ivshmem_channel::Cancel> {
    cancel.map(|cancel| &cancel.0)
}
