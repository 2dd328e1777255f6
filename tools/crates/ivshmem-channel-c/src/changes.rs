// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who comes and goes, as events.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use crate::boundary::{free, give, guard, some, timeout};
use crate::cancel::{cancel as of_cancel, Cancel};
use crate::error::Failure;
use crate::link::AnyLink;
use crate::member::{of as of_member, Member};

/// A program has joined, or was there when the looking began.
pub const IVSHMEM_CHANNEL_JOINED: u32 = 0;
/// A program has left its slot, or another one has taken that.
pub const IVSHMEM_CHANNEL_LEFT: u32 = 1;
/// A program has been silent for too long.
pub const IVSHMEM_CHANNEL_SILENT: u32 = 2;
/// A program was silent, and shows that it lives.
pub const IVSHMEM_CHANNEL_RETURNED: u32 = 3;

/// Another program came or went.
#[repr(C)]
pub struct Change {
    /// IVSHMEM_CHANNEL_JOINED, _LEFT, _SILENT or _RETURNED.
    pub what: u32,
    /// Its slot.
    pub slot: u32,
    /// Its number for this time.
    pub incarnation: u32,
    /// The ID by which the link rings it if it has joined, else 0.
    pub peer_id: u32,
}

/// Who comes and goes, beginning with all who are there. One thread at a time may use it.
///
/// Nobody is rung when a program joins or leaves, so this looks twice in a heartbeat, as long as it is called; one that
/// joins and leaves in between is not seen.
pub struct Changes(ivshmem_channel::Changes<AnyLink>);

/// Begins to look who is in the other slots. Does not block.
///
/// Returns 0; -EINVAL if a pointer is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_changes_open(
    member: Option<&Member>,
    changes: Option<&mut MaybeUninit<*mut Changes>>,
) -> c_int {
    guard(|| give(changes, || Ok(Changes(of_member(member)?.changes()))))
}

/// Waits for the next change, for up to `timeout_ns`. Shows that this program lives.
///
/// Returns 0, with `change` set; -EAGAIN if there is none and `timeout_ns` is 0, -ETIMEDOUT if the time is over;
/// -ECANCELED; -ESTALE; -ECONNABORTED; -EINVAL if a pointer is null; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_changes_next(
    changes: Option<&mut Changes>,
    change: Option<&mut MaybeUninit<Change>>,
    timeout_ns: i64,
) -> c_int {
    guard(|| {
        let out = some(change, "the change")?;
        let found = some(changes, "the changes")?.0.next(timeout(timeout_ns))?;
        let found = found.ok_or_else(|| Failure::none_within(timeout_ns))?;
        out.write(of_change(found).ok_or(Failure::Panic)?);
        Ok(0)
    })
}

/// Lets `cancel` end the waiting, also in calls to come.
///
/// Returns 0; -EINVAL if a pointer is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_changes_set_cancel(
    changes: Option<&mut Changes>,
    cancel: Option<&Cancel>,
) -> c_int {
    guard(|| {
        let cancel = of_cancel(cancel)?;
        some(changes, "the changes")?.0.set_cancel(cancel);
        Ok(0)
    })
}

/// Ends the looking. Nothing if `changes` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_changes_close(changes: Option<Box<Changes>>) {
    free(changes);
}

/// `None` for kinds that this library does not know.
fn of_change(change: ivshmem_channel::Change) -> Option<Change> {
    use ivshmem_channel::Change as Of;
    let (what, slot, incarnation, peer_id) = match change {
        Of::Joined {
            slot,
            incarnation,
            peer_id,
        } => (IVSHMEM_CHANNEL_JOINED, slot, incarnation, peer_id),
        Of::Left { slot, incarnation } => (IVSHMEM_CHANNEL_LEFT, slot, incarnation, 0),
        Of::Lost { slot, incarnation } => (IVSHMEM_CHANNEL_SILENT, slot, incarnation, 0),
        Of::Returned { slot, incarnation } => (IVSHMEM_CHANNEL_RETURNED, slot, incarnation, 0),
        _ => return None,
    };
    Some(Change {
        what,
        slot,
        incarnation,
        peer_id,
    })
}
