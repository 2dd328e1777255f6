// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The end of a topic that publishes.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use crate::boundary::{bytes, free, give, guard, length, some};
use crate::link::AnyLink;
use crate::member::{of as of_member, Member};

/// The end of a topic that publishes. It never waits for anybody. One thread at a time may use it.
pub struct Publisher(ivshmem_channel::Publisher<AnyLink>);

/// Opens the publishing end of topic `topic`. Goes on where the last one was. Does not block.
///
/// Returns 0; -ENXIO if there is no such topic, or another slot publishes it; -EALREADY if this program has it open;
/// -ESTALE; -ECONNABORTED; -EUCLEAN; -EINVAL if a pointer is null; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_publisher_open(
    member: Option<&Member>,
    topic: u32,
    publisher: Option<&mut MaybeUninit<*mut Publisher>>,
) -> c_int {
    guard(|| {
        give(publisher, || {
            // CAST: There are no more than 4096.
            let publisher = of_member(member)?.publisher(topic as usize)?;
            Ok(Publisher(publisher))
        })
    })
}

/// The longest value in bytes, or -EINVAL if `publisher` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_publisher_longest(publisher: Option<&Publisher>) -> i64 {
    guard(|| Ok(length(some(publisher, "the publisher")?.0.longest())))
}

/// Publishes a value of `len` bytes, whole or not at all, and rings those who wait for one. Does not block.
///
/// Returns 0; -EMSGSIZE if it is too long; -ESTALE; -ECONNABORTED; -EUCLEAN if so many programs were replaced while they
/// published that the topic cannot go on; -EINVAL if a pointer is null; -ENODEV.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_publisher_publish(
    publisher: Option<&mut Publisher>,
    value: *const c_void,
    len: usize,
) -> c_int {
    guard(|| {
        // SAFETY: The caller promises what `bytes` asks.
        let value = unsafe { bytes(value, len)? };
        some(publisher, "the publisher")?.0.publish(value)?;
        Ok(0)
    })
}

/// Closes the publisher, and nothing if it is null. What was published stays.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_publisher_close(publisher: Option<Box<Publisher>>) {
    free(publisher);
}
