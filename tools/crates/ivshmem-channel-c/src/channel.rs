// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Makes and finds channels, and joins them.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::time::Duration;

use crate::boundary::{free, give, guard, read_only, some, timeout};
use crate::cancel::{cancel_or_none, Cancel};
use crate::layout::{layout as of_layout, Layout};
use crate::link::{link as of_link, AnyLink, Link};
use crate::member::Member;

/// A channel that was made or found. Joining is what makes use of it. Threads may share it.
pub struct Channel(pub(crate) ivshmem_channel::Channel<AnyLink>);

/// Finds the channel at byte `base` of the memory, a multiple of 4096. Does not block.
///
/// Returns 0; -ENODATA if there is none, or not yet; -EINVAL if a pointer is null or `base` cannot be; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_open(
    link: Option<&Link>,
    base: u64,
    channel: Option<&mut MaybeUninit<*mut Channel>>,
) -> c_int {
    guard(|| {
        give(channel, || {
            Ok(Channel(ivshmem_channel::Channel::open(
                of_link(link)?,
                base,
            )?))
        })
    })
}

/// Makes a channel at byte `base` of the memory, a multiple of 4096, whatever was there before. Programs that use what
/// was there get -ESTALE. Blocks for up to 4 seconds while others do the same.
///
/// Returns 0; -ENODATA if they do it all the time; -EOPNOTSUPP if the memory is not mapped write-back and this machine
/// needs that; -EINVAL if a pointer is null, or `base` or the layout cannot be; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_create(
    link: Option<&Link>,
    base: u64,
    layout: Option<&Layout>,
    channel: Option<&mut MaybeUninit<*mut Channel>>,
) -> c_int {
    guard(|| {
        give(channel, || {
            let (link, layout) = (of_link(link)?, of_layout(layout)?);
            Ok(Channel(ivshmem_channel::Channel::create(
                link, base, layout,
            )?))
        })
    })
}

/// Finds the channel at byte `base` of the memory, a multiple of 4096, or makes it. Programs that do this at the same time
/// make one together. Blocks for up to 4 seconds while others make it.
///
/// Returns 0; -EEXIST if there is one with another layout; -ENODATA if somebody else writes there all the time;
/// -EOPNOTSUPP if the memory is not mapped write-back and this machine needs that; -EINVAL if a pointer is null, or `base`
/// or the layout cannot be; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_open_or_create(
    link: Option<&Link>,
    base: u64,
    layout: Option<&Layout>,
    channel: Option<&mut MaybeUninit<*mut Channel>>,
) -> c_int {
    guard(|| {
        give(channel, || {
            let (link, layout) = (of_link(link)?, of_layout(layout)?);
            Ok(Channel(ivshmem_channel::Channel::open_or_create(
                link, base, layout,
            )?))
        })
    })
}

/// Recreates the channel, with the same layout: all messages are gone, and all who use it get -ESTALE and have to join
/// again. What to do after -EUCLEAN. `fresh` is a second handle.
///
/// Returns what ivshmem_channel_create() does.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_reset(
    channel: Option<&Channel>,
    fresh: Option<&mut MaybeUninit<*mut Channel>>,
) -> c_int {
    guard(|| {
        give(fresh, || {
            Ok(Channel(some(channel, "the channel")?.0.reset()?))
        })
    })
}

/// Takes part in whichever of the `count` slots at `slots` is free first, and is rung by vector `vector`, one below
/// ivshmem_channel_link_vectors(), or any number if that is 0.
///
/// A slot whose program has left, or ran on this machine and has ended, is taken at once. For one whose program is silent
/// this blocks until it has been for as long as the layout says. `cancel`, which may be null, ends that. `timeout_ns` is
/// how long to wait for programs that live; give more than the layout's silence, unless slots are only to be looked at.
///
/// Returns 0; -EBUSY if all of them belong to programs that live; -ENXIO if there is no such slot; -ECANCELED; -ESTALE;
/// -ECONNABORTED; -EOPNOTSUPP if the memory is not mapped write-back and this machine needs that; -EUCLEAN; -EINVAL if
/// another pointer is null, `count` is 0, or there is no such vector; -ENODEV.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_join(
    channel: Option<&Channel>,
    slots: *const u32,
    count: usize,
    vector: u32,
    timeout_ns: i64,
    cancel: Option<&Cancel>,
    member: Option<&mut MaybeUninit<*mut Member>>,
) -> c_int {
    guard(|| {
        give(member, || {
            // SAFETY: The caller promises what `read_only` asks.
            let slots = unsafe { read_only(slots, count)? };
            let channel = &some(channel, "the channel")?.0;
            let member = join(channel, slots, vector, timeout_ns, cancel);
            Ok(Member(member?))
        })
    })
}

/// ivshmem_channel_open_or_create() and ivshmem_channel_join(), both again if another program recreated the channel
/// meanwhile: how programs begin that may come in any order.
///
/// Returns what these return; -ESTALE if others recreate it again and again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_create_or_join(
    link: Option<&Link>,
    base: u64,
    layout: Option<&Layout>,
    slots: *const u32,
    count: usize,
    vector: u32,
    timeout_ns: i64,
    cancel: Option<&Cancel>,
    member: Option<&mut MaybeUninit<*mut Member>>,
) -> c_int {
    guard(|| {
        give(member, || {
            // SAFETY: The caller promises what `read_only` asks.
            let slots = unsafe { read_only(slots, count)? };
            let (link, layout) = (of_link(link)?, of_layout(layout)?);
            let member = ivshmem_channel::Channel::create_or_join(link, base, layout, |channel| {
                join(channel, slots, vector, timeout_ns, cancel)
            });
            Ok(Member(member?))
        })
    })
}

/// Closes the handle, and nothing if it is null. Members are not affected.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_close(channel: Option<Box<Channel>>) {
    free(channel);
}

fn join(
    channel: &ivshmem_channel::Channel<AnyLink>,
    slots: &[u32],
    vector: u32,
    timeout_ns: i64,
    cancel: Option<&Cancel>,
) -> ivshmem_channel::Result<ivshmem_channel::Member<AnyLink>> {
    let limit = timeout(timeout_ns).unwrap_or(Duration::MAX);
    let mut joining = channel.joining().timeout(limit);
    if let Some(cancel) = cancel_or_none(cancel) {
        joining = joining.cancel(cancel);
    }
    joining.join_any(slots, vector)
}
