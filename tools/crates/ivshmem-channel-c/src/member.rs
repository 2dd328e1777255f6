// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A slot that this program has joined.

use std::ffi::c_int;
use std::mem::MaybeUninit;

use crate::boundary::{free, guard, some};
use crate::error::Failure;
use crate::link::AnyLink;

/// A slot that this program has joined, until this and all its senders, receivers, publishers and subscribers are closed.
/// Threads may share it.
///
/// The program shows that it lives whenever it calls or waits in these. If it does neither for a heartbeat of the layout,
/// it has to call ivshmem_channel_member_beat(), or others take it for lost.
pub struct Member(pub(crate) ivshmem_channel::Member<AnyLink>);

/// Nobody has joined since the channel was made, or whoever did has left.
pub const IVSHMEM_CHANNEL_ABSENT: u32 = 0;
/// A program has joined, and shows that it lives.
pub const IVSHMEM_CHANNEL_PRESENT: u32 = 1;
/// A program has joined, and has been silent for too long: it crashed, hangs, or its guest is stopped.
pub const IVSHMEM_CHANNEL_LOST: u32 = 2;

/// Who is in a slot.
#[repr(C)]
pub struct Presence {
    /// IVSHMEM_CHANNEL_ABSENT, _PRESENT or _LOST.
    pub state: u32,
    /// Another number each time that somebody joins: what was said to another is not known to this one. 0 if absent.
    pub incarnation: u32,
    /// The ID by which the link rings it. 0, which is an ID too, if it is not present.
    pub peer_id: u32,
}

/// The slot of the member; UINT32_MAX if `member` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_member_slot(member: Option<&Member>) -> u32 {
    member.map_or(u32::MAX, |member| member.0.slot())
}

/// The member's number for this time; 0 if `member` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_member_incarnation(member: Option<&Member>) -> u32 {
    member.map_or(0, |member| member.0.incarnation())
}

/// Shows that this program lives, if it is time to. Does not block.
///
/// Returns 0; -ESTALE; -ECONNABORTED; -EINVAL if `member` is null; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_member_beat(member: Option<&Member>) -> c_int {
    guard(|| {
        of(member)?.beat()?;
        Ok(0)
    })
}

/// Says who is in slot `slot`. A program that has crashed is found lost only if this is called from time to time: what
/// counts is how long its heartbeat was seen to stand still, and each call counts for one heartbeat at most. Does not block.
///
/// Returns 0, with `presence` set; -ENXIO if there is no such slot; -ESTALE; -EINVAL if a pointer is null; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_member_presence(
    member: Option<&Member>,
    slot: u32,
    presence: Option<&mut MaybeUninit<Presence>>,
) -> c_int {
    guard(|| {
        let out = some(presence, "the presence")?;
        let mut found = Presence {
            state: IVSHMEM_CHANNEL_ABSENT,
            incarnation: 0,
            peer_id: 0,
        };
        match of(member)?.presence(slot)? {
            ivshmem_channel::Presence::Absent => {}
            ivshmem_channel::Presence::Present {
                incarnation,
                peer_id,
            } => {
                found = Presence {
                    state: IVSHMEM_CHANNEL_PRESENT,
                    incarnation,
                    peer_id,
                }
            }
            ivshmem_channel::Presence::Lost { incarnation } => {
                found.state = IVSHMEM_CHANNEL_LOST;
                found.incarnation = incarnation;
            }
        }
        out.write(found);
        Ok(0)
    })
}

/// Leaves the slot once all that was opened through this handle is closed too. Nothing if it is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_member_close(member: Option<Box<Member>>) {
    free(member);
}

/// What programs give where a member is needed.
pub(crate) fn of(member: Option<&Member>) -> Result<&ivshmem_channel::Member<AnyLink>, Failure> {
    Ok(&some(member, "the member")?.0)
}
