// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The sending end of a ring buffer.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;

use crate::boundary::{bytes, free, give, guard, length, some, timeout};
use crate::cancel::{cancel as of_cancel, Cancel};
use crate::error::Failure;
use crate::event_loop::EventLoop;
use crate::link::AnyLink;
use crate::member::{of as of_member, Member};
use crate::part::{parts as tell_parts, Part};

/// The sending end of a ring buffer. One thread at a time may use it.
pub struct Sender {
    end: ivshmem_channel::Sender<AnyLink>,
    link: AnyLink,
    events: EventLoop,
    /// Bytes of the message that is reserved.
    reserved: Option<usize>,
}

impl Sender {
    /// The end, whose memory may be touched.
    fn awake(&mut self) -> Result<&mut ivshmem_channel::Sender<AnyLink>, Failure> {
        self.events.awake(&self.end.room(0))?;
        Ok(&mut self.end)
    }
}

/// Opens the sending end of the ring buffer to slot `to`, whether that has other senders or not. Goes on where the last one was.
/// Does not block.
///
/// Returns 0; -ENXIO if the layout has no such ring buffer; -EALREADY if this program has it open; -ESTALE; -ECONNABORTED;
/// -EUCLEAN; -EINVAL if a pointer is null; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_sender_open(
    member: Option<&Member>,
    to: u32,
    sender: Option<&mut MaybeUninit<*mut Sender>>,
) -> c_int {
    guard(|| {
        give(sender, || {
            let member = of_member(member)?;
            Ok(Sender {
                end: member.sender(to)?,
                link: member.link().clone(),
                events: EventLoop::default(),
                reserved: None,
            })
        })
    })
}

/// The longest message in bytes, or -EINVAL if `sender` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_sender_longest(sender: Option<&Sender>) -> i64 {
    guard(|| Ok(length(some(sender, "the sender")?.end.longest())))
}

/// Sends a message of `len` bytes, and all that was queued before. Blocks until there is room, for up to `timeout_ns`.
///
/// Returns 0; -EAGAIN if there is no room and `timeout_ns` is 0, -ETIMEDOUT if the time is over; -EMSGSIZE if it can never
/// fit; -ECANCELED; -ESTALE; -ECONNABORTED; -EUCLEAN; -EINVAL if a pointer is null; -ENODEV.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_sender_send(
    sender: Option<&mut Sender>,
    message: *const c_void,
    len: usize,
    timeout_ns: i64,
) -> c_int {
    guard(|| {
        // SAFETY: The caller promises what `bytes` asks.
        let message = unsafe { bytes(message, len)? };
        let sender = some(sender, "the sender")?;
        sender.reserved = None;
        let sent = sender.awake()?.send(message, timeout(timeout_ns));
        sent.map_err(|error| Failure::sending(error, timeout_ns))?;
        Ok(0)
    })
}

/// As ivshmem_channel_sender_send(), but the receiver need not see the message before ivshmem_channel_sender_flush(): for
/// many small messages at a time, which cost one doorbell.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_sender_queue(
    sender: Option<&mut Sender>,
    message: *const c_void,
    len: usize,
    timeout_ns: i64,
) -> c_int {
    guard(|| {
        // SAFETY: The caller promises what `bytes` asks.
        let message = unsafe { bytes(message, len)? };
        let sender = some(sender, "the sender")?;
        sender.reserved = None;
        let queued = sender.awake()?.queue(message, timeout(timeout_ns));
        queued.map_err(|error| Failure::sending(error, timeout_ns))?;
        Ok(0)
    })
}

/// Makes room in the ring for a message of up to `len` bytes, so that it can be written where it will be: `parts` are two,
/// and are set to where. The second one has no bytes unless the message goes over the end of the ring. The first one begins at
/// a multiple of 8 bytes. Blocks until there is room, for up to `timeout_ns`.
///
/// Nobody sees the message before ivshmem_channel_sender_commit(), and what is not committed was never there. The parts are the
/// caller's until then, until another call with the sender that takes a message, and until the sender is closed.
///
/// Returns what ivshmem_channel_sender_send() does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_sender_reserve(
    sender: Option<&mut Sender>,
    len: usize,
    parts: *mut Part,
    timeout_ns: i64,
) -> c_int {
    guard(|| {
        let sender = some(sender, "the sender")?;
        sender.reserved = None;
        sender.awake()?;
        let space = sender.end.reserve(len, timeout(timeout_ns));
        let space = space.map_err(|error| Failure::sending(error, timeout_ns))?;
        // SAFETY: The caller promises what `parts` asks.
        unsafe { tell_parts(parts, &sender.link, space.ranges())? };
        sender.reserved = Some(len);
        Ok(0)
    })
}

/// Ends the message that was reserved, with its first `len` bytes. The receiver need not see it before
/// ivshmem_channel_sender_flush(). Does not block.
///
/// Returns 0; -EMSGSIZE if so many bytes were not reserved: they still are; -ESTALE; -ECONNABORTED; -EUCLEAN; -EINVAL if nothing is
/// reserved, or `sender` is null; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_sender_commit(sender: Option<&mut Sender>, len: usize) -> c_int {
    guard(|| {
        let sender = some(sender, "the sender")?;
        let max = sender.reserved;
        let max = max.ok_or(Failure::Argument("nothing is reserved"))?;
        if len > max {
            return Err(ivshmem_channel::Error::TooLong { len, max }.into());
        }
        sender.reserved = None;
        // It is where it was: nothing was sent since, and room does not become less.
        let space = sender.awake()?.reserve(max, timeout(0))?;
        space.commit(len)?;
        Ok(0)
    })
}

/// Shows the receiver all that was queued, and rings it if it sleeps. Does not block.
///
/// Returns 0; -ESTALE; -ECONNABORTED; -EUCLEAN; -EINVAL if `sender` is null; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_sender_flush(sender: Option<&mut Sender>) -> c_int {
    guard(|| {
        some(sender, "the sender")?.awake()?.flush()?;
        Ok(0)
    })
}

/// Lets `cancel` end the waiting for room, also in calls to come.
///
/// Returns 0; -EINVAL if a pointer is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_sender_set_cancel(
    sender: Option<&mut Sender>,
    cancel: Option<&Cancel>,
) -> c_int {
    guard(|| {
        let cancel = of_cancel(cancel)?;
        some(sender, "the sender")?.end.set_cancel(cancel);
        Ok(0)
    })
}

/// A descriptor for poll(2), epoll(7) and event loops, which is ready for reading (POLLIN) once it is time to try to send
/// again after ivshmem_channel_sender_arm(). It belongs to the sender, is always the same, and is neither read nor closed.
///
/// Returns it; -EMFILE or -ENFILE; -EINVAL if `sender` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_sender_fd(sender: Option<&mut Sender>) -> c_int {
    guard(|| some(sender, "the sender")?.events.fd())
}

/// Has the descriptor become ready once there is room for a message of `len` bytes, or a heartbeat is due. Does not block.
///
/// Returns 1 if it is armed; 0 if there is room, or an error, by now: try to send; -ECANCELED; -ESTALE; -ECONNABORTED;
/// -EMFILE or -ENFILE; -EINVAL if `sender` is null; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_sender_arm(sender: Option<&mut Sender>, len: usize) -> c_int {
    guard(|| {
        let sender = some(sender, "the sender")?;
        sender.awake()?;
        let Sender { end, events, .. } = sender;
        events.arm(&mut end.room(len))
    })
}

/// Has the descriptor be ready no more, until it is armed again.
///
/// Returns 0; -EINVAL if `sender` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_sender_disarm(sender: Option<&mut Sender>) -> c_int {
    guard(|| {
        let Sender { end, events, .. } = some(sender, "the sender")?;
        events.disarm(&end.room(0))
    })
}

/// Shows the receiver what was queued, and closes the sender. Nothing if it is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_sender_close(sender: Option<Box<Sender>>) {
    free(sender);
}
