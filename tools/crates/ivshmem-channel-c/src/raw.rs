// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The memory and the doorbells of a link, for programs that make no channel in it.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ivshmem::{Doorbell, Memory, Waiter};

use crate::boundary::{buffer, bytes, guard, some, timeout};
use crate::error::Failure;
use crate::link::Link;

/// The ID by which others ring this end, which is a real one also if it is 0. It can become another one when a guest is
/// resumed. 0 if `link` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_peer_id(link: Option<&Link>) -> u32 {
    link.map_or(0, |link| link.memory.peer_id())
}

/// Copies `len` bytes of the memory, from byte `offset` on, to `buffer`. Others may write meanwhile, so check the copy, and
/// use the copy: load the word that says that it is there first.
///
/// Returns 0; -EINVAL if a pointer is null, or not all of it is in the memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_link_read(
    link: Option<&Link>,
    offset: u64,
    buffer: *mut c_void,
    len: usize,
) -> c_int {
    guard(|| {
        // SAFETY: The caller promises what `buffer` asks.
        let buffer = unsafe { self::buffer(buffer, len)? };
        memory(link)?.read(offset, buffer)?;
        Ok(0)
    })
}

/// Copies `len` bytes of `data` to the memory, from byte `offset` on. Store the word that says that it is there afterwards.
///
/// Returns 0; -EINVAL if a pointer is null, or not all of it is in the memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_link_write(
    link: Option<&Link>,
    offset: u64,
    data: *const c_void,
    len: usize,
) -> c_int {
    guard(|| {
        // SAFETY: The caller promises what `bytes` asks.
        let data = unsafe { bytes(data, len)? };
        memory(link)?.write(offset, data)?;
        Ok(0)
    })
}

/// Loads the word at byte `offset` of the memory, a multiple of 4, before everything that this thread does afterwards.
///
/// Returns 0; -EINVAL if a pointer is null, or there is no such word.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_load(
    link: Option<&Link>,
    offset: u64,
    value: Option<&mut MaybeUninit<u32>>,
) -> c_int {
    guard(|| {
        let value = some(value, "the place for the word")?;
        value.write(memory(link)?.load32(offset, Ordering::Acquire)?);
        Ok(0)
    })
}

/// Stores the word at byte `offset` of the memory, a multiple of 4, after everything that this thread did before.
///
/// Returns 0; -EINVAL if the pointer is null, or there is no such word.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_store(
    link: Option<&Link>,
    offset: u64,
    value: u32,
) -> c_int {
    guard(|| {
        memory(link)?.store32(offset, value, Ordering::Release)?;
        Ok(0)
    })
}

/// A full barrier: what this thread stored before is visible before anything is loaded after. Nothing if `link` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_fence(link: Option<&Link>) {
    if let Some(link) = link {
        link.memory.fence();
    }
}

/// Rings vector `vector` of peer `peer`; oneself is allowed. What this thread wrote to the memory before is visible to who
/// wakes. Blocks only while the device is reset.
///
/// Returns 0, which does not mean that anybody heard it; -EINVAL if the pointer is null, or a number is out of range;
/// -EOPNOTSUPP if there is no doorbell; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_ring(link: Option<&Link>, peer: u32, vector: u32) -> c_int {
    guard(|| {
        memory(link)?.ring(peer, vector)?;
        Ok(0)
    })
}

/// Sleeps until one of some vectors is rung: bit n of `vectors` is vector n, and 0 stands for all. Sets `rung`, which may be
/// null, to those that were, and forgets their rings. Other waits by the same link, also those of channels, take rings from
/// it; ivshmem_channel_link_fd() hears all. It cannot be cancelled: whoever has to end it rings one of the vectors, or waits
/// for that descriptor instead.
///
/// Returns 0; -EAGAIN or -ETIMEDOUT; -EOPNOTSUPP if this end cannot be rung, as without the driver by sysfs; -EINVAL if the
/// link is null, or there is no such vector, which is known of a server's a second after the link was opened; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_wait(
    link: Option<&Link>,
    vectors: u64,
    timeout_ns: i64,
    rung: Option<&mut MaybeUninit<u64>>,
) -> c_int {
    guard(|| {
        let memory = memory(link)?;
        match uninterrupted(timeout_ns, |left| memory.wait(vectors, left))? {
            0 => Err(Failure::none_within(timeout_ns)),
            those => {
                crate::boundary::tell(rung, those);
                Ok(0)
            }
        }
    })
}

/// Sleeps while the word at byte `offset` of the memory, a multiple of 4, is `value`. Whoever changes it has to ring this
/// end, on any vector; if ivshmem_channel_link_vectors() is 0, this looks again and again instead. Load the word again before
/// using what it guards. It cannot be cancelled: whoever has to end it changes the word, or gives a time limit.
///
/// Returns 0; -EAGAIN or -ETIMEDOUT; -EINVAL if the link is null, or there is no such word; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_wait_word(
    link: Option<&Link>,
    offset: u64,
    value: u32,
    timeout_ns: i64,
) -> c_int {
    guard(|| {
        let memory = memory(link)?;
        match uninterrupted(timeout_ns, |left| memory.wait_word(offset, value, left))? {
            true => Ok(0),
            false => Err(Failure::none_within(timeout_ns)),
        }
    })
}

/// The descriptor for event loops that is ready for reading once vector `vector` was rung, from the first call for it on,
/// or the device is gone. Always the same for a vector; it belongs to the link, and is neither read nor closed.
///
/// Returns it; -EOPNOTSUPP if this end cannot be rung; -EINVAL if the link is null, or there is no such vector; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_fd(link: Option<&Link>, vector: u32) -> c_int {
    guard(|| some(link, "the link")?.with_bell(vector, |bell| Ok(bell.as_raw_fd())))
}

/// Forgets the rings of vector `vector` that ivshmem_channel_link_fd() is ready for. Does not block.
///
/// Returns 1 if there were any, and 0 if not; what ivshmem_channel_link_fd() returns if that fails; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_link_heard(link: Option<&Link>, vector: u32) -> c_int {
    guard(|| {
        let link = some(link, "the link")?;
        let heard = link.with_bell(vector, |bell| Ok(bell.take()?))?;
        match link.memory.is_gone() {
            true => Err(ivshmem::Error::Gone.into()),
            false => Ok(c_int::from(heard)),
        }
    })
}

fn memory(link: Option<&Link>) -> Result<&crate::link::AnyLink, Failure> {
    Ok(&some(link, "the link")?.memory)
}

/// What `wait` gives, which is given the time that is left. Signals do not end it.
fn uninterrupted<T>(
    timeout_ns: i64,
    mut wait: impl FnMut(Option<Duration>) -> ivshmem::Result<T>,
) -> Result<T, Failure> {
    let begin = Instant::now();
    loop {
        let left = timeout(timeout_ns).map(|limit| limit.saturating_sub(begin.elapsed()));
        match wait(left) {
            Err(ivshmem::Error::Interrupted) => {}
            other => return Ok(other?),
        }
    }
}
