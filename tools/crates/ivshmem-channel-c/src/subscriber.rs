// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! An end of a topic that reads.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::time::Duration;

use crate::boundary::{buffer as of_buffer, free, give, guard, length, some, tell, timeout};
use crate::cancel::{cancel as of_cancel, Cancel};
use crate::error::Failure;
use crate::event_loop::EventLoop;
use crate::link::AnyLink;
use crate::member::{of as of_member, Member};

/// An end of a topic that reads. One thread at a time may use it.
pub struct Subscriber {
    end: ivshmem_channel::Subscriber<AnyLink>,
    events: EventLoop,
    /// The value that is being read.
    value: Vec<u8>,
}

/// Opens a reading end of topic `topic`, which is another slot's. Begins with the newest value, or with the first one if
/// there is none yet. Does not block.
///
/// Returns 0; -ENXIO if there is no such topic, or it is this slot's; -EALREADY if this program has it open; -ESTALE;
/// -ECONNABORTED; -EINVAL if a pointer is null; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_subscriber_open(
    member: Option<&Member>,
    topic: u32,
    subscriber: Option<&mut MaybeUninit<*mut Subscriber>>,
) -> c_int {
    guard(|| {
        give(subscriber, || {
            Ok(Subscriber {
                // CAST: There are no more than 4096.
                end: of_member(member)?.subscriber(topic as usize)?,
                events: EventLoop::default(),
                value: Vec::new(),
            })
        })
    })
}

/// The longest value in bytes, or -EINVAL if `subscriber` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_subscriber_longest(subscriber: Option<&Subscriber>) -> i64 {
    guard(|| Ok(length(some(subscriber, "the subscriber")?.end.longest())))
}

/// Copies the next value to `buffer`: the oldest one that was not read here and is still there. `size` is the room there
/// in bytes, no less than ivshmem_channel_subscriber_longest(). Sets `missed`, which may be null, to how many values were
/// published since the last one that was read and are gone. Blocks until there is one, for up to `timeout_ns`.
///
/// Returns the value's length in bytes; -EAGAIN if there is none and `timeout_ns` is 0, -ETIMEDOUT if the time is over;
/// -EMSGSIZE if `size` is too small; -ECANCELED; -ESTALE; -ECONNABORTED; -EINVAL if another pointer is null; -ENODEV.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_subscriber_next(
    subscriber: Option<&mut Subscriber>,
    buffer: *mut c_void,
    size: usize,
    missed: Option<&mut MaybeUninit<u32>>,
    timeout_ns: i64,
) -> i64 {
    guard(|| {
        // SAFETY: The caller promises what `buffer` asks.
        let buffer = unsafe { of_buffer(buffer, size)? };
        read(
            subscriber,
            buffer,
            missed,
            timeout_ns,
            |end, value, limit| end.next(value, limit),
        )
    })
}

/// As ivshmem_channel_subscriber_next(), but the newest value, for those who want no other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_subscriber_newest(
    subscriber: Option<&mut Subscriber>,
    buffer: *mut c_void,
    size: usize,
    missed: Option<&mut MaybeUninit<u32>>,
    timeout_ns: i64,
) -> i64 {
    guard(|| {
        // SAFETY: The caller promises what `buffer` asks.
        let buffer = unsafe { of_buffer(buffer, size)? };
        read(
            subscriber,
            buffer,
            missed,
            timeout_ns,
            |end, value, limit| end.newest(value, limit),
        )
    })
}

/// Lets `cancel` end the waiting for a value, also in calls to come.
///
/// Returns 0; -EINVAL if a pointer is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_subscriber_set_cancel(
    subscriber: Option<&mut Subscriber>,
    cancel: Option<&Cancel>,
) -> c_int {
    guard(|| {
        let cancel = of_cancel(cancel)?;
        some(subscriber, "the subscriber")?.end.set_cancel(cancel);
        Ok(0)
    })
}

/// As ivshmem_channel_receiver_fd().
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_subscriber_fd(subscriber: Option<&mut Subscriber>) -> c_int {
    guard(|| some(subscriber, "the subscriber")?.events.fd())
}

/// As ivshmem_channel_receiver_arm(). A value that is written over meanwhile can be told of, and not be found.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_subscriber_arm(subscriber: Option<&mut Subscriber>) -> c_int {
    guard(|| {
        let Subscriber { end, events, .. } = some(subscriber, "the subscriber")?;
        events.awake(end)?;
        events.arm(end)
    })
}

/// As ivshmem_channel_receiver_disarm().
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_subscriber_disarm(subscriber: Option<&mut Subscriber>) -> c_int {
    guard(|| {
        let Subscriber { end, events, .. } = some(subscriber, "the subscriber")?;
        events.disarm(end)
    })
}

/// Closes the subscriber, and nothing if it is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_subscriber_close(subscriber: Option<Box<Subscriber>>) {
    free(subscriber);
}

/// Takes a value by `take`.
fn read(
    subscriber: Option<&mut Subscriber>,
    buffer: &mut [u8],
    missed: Option<&mut MaybeUninit<u32>>,
    timeout_ns: i64,
    take: impl FnOnce(
        &mut ivshmem_channel::Subscriber<AnyLink>,
        &mut Vec<u8>,
        Option<Duration>,
    ) -> ivshmem_channel::Result<Option<u32>>,
) -> Result<i64, Failure> {
    let Subscriber { end, events, value } = some(subscriber, "the subscriber")?;
    let (len, max) = (end.longest(), buffer.len());
    if max < len {
        // Otherwise a value could be read, and lost.
        return Err(ivshmem_channel::Error::TooLong { len, max }.into());
    }
    events.awake(end)?;
    let found = take(end, value, timeout(timeout_ns))?;
    tell(
        missed,
        found.ok_or_else(|| Failure::none_within(timeout_ns))?,
    );
    buffer[..value.len()].copy_from_slice(value);
    Ok(length(value.len()))
}
