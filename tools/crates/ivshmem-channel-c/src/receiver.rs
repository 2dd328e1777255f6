// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The receiving end of a ring buffer, with one sender or several.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::time::Duration;

use ivshmem_channel::{Error, MultiReceiver};

use crate::boundary::{
    buffer as of_buffer, free, give, guard, length, some, tell, timeout, written,
};
use crate::cancel::{cancel as of_cancel, Cancel};
use crate::error::Failure;
use crate::event_loop::EventLoop;
use crate::link::AnyLink;
use crate::member::{of as of_member, Member};
use crate::part::{parts as tell_parts, Part};

/// Instead of a slot: all others, through a ring buffer with several senders.
pub const IVSHMEM_CHANNEL_ALL: u32 = u32::MAX;

/// What messages of ivshmem_channel_receiver_receive_many() begin at multiples of.
const ALIGN: usize = 8;

/// The receiving end of a ring buffer. One thread at a time may use it.
///
/// The sender gets back the room of what was received when a quarter of the ring buffer is, when no more has arrived, by
/// ivshmem_channel_receiver_release(), and by closing. If this program crashes, the next one gets all messages again whose
/// room was not given back.
pub struct Receiver {
    end: End,
    link: AnyLink,
    /// The message that is borrowed: its sender, and where it is.
    borrowed: Option<(u32, [Range<u64>; 2])>,
    events: EventLoop,
    /// What was found after a message, for the next call.
    kept: Option<Failure>,
}

enum End {
    One(ivshmem_channel::Receiver<AnyLink>),
    Many(MultiReceiver<AnyLink>),
}

/// Does the same with either end.
macro_rules! with_end {
    ($end:expr, $it:ident => $what:expr) => {
        match $end {
            End::One($it) => $what,
            End::Many($it) => $what,
        }
    };
}

/// A message among those that ivshmem_channel_receiver_receive_many() received.
#[repr(C)]
pub struct Message {
    /// Where it begins in the buffer, in bytes: a multiple of 8.
    pub at: usize,
    /// Its length in bytes.
    pub len: usize,
    /// The slot that sent it.
    pub from: u32,
}

impl Receiver {
    /// Makes sure that the memory may be touched.
    fn awake(&mut self) -> Result<(), Failure> {
        with_end!(&self.end, end => self.events.awake(end))
    }

    /// Comes before each look for a message: tells what was kept.
    fn begin(&mut self) -> Result<(), Failure> {
        match self.kept.take() {
            Some(kept) => Err(kept),
            None => self.awake(),
        }
    }

    /// What it means that the message of slot `from` that was borrowed is the next one no more.
    fn changed(&self, from: u32) -> Error {
        let what = "a message was changed while it was read";
        match self.end {
            End::One(_) => Error::Corrupt(what),
            End::Many(_) => Error::CorruptLane { from, what },
        }
    }

    /// Receives a message: its length and its sender.
    fn receive(
        &mut self,
        buffer: &mut [u8],
        timeout: Option<Duration>,
    ) -> Result<Option<(usize, u32)>, Failure> {
        self.borrowed = None;
        let found = with_end!(&mut self.end, end => end.next(timeout))?;
        let Some(message) = found else {
            return Ok(None);
        };
        let from = message.from();
        Ok(Some((message.take_into(buffer)?, from)))
    }

    /// Receives the messages that are there, after it has waited for the first one. Returns how many.
    fn receive_many(
        &mut self,
        messages: &mut [MaybeUninit<Message>],
        buffer: &mut [u8],
        mut timeout: Option<Duration>,
    ) -> Result<usize, Failure> {
        let (mut count, mut at) = (0, 0);
        for message in messages {
            // Not even an empty one is behind the end.
            let Some(rest) = buffer.get_mut(at..) else {
                break;
            };
            match self.receive(rest, timeout) {
                Ok(Some((len, from))) => {
                    message.write(Message { at, len, from });
                    count += 1;
                    at = (at + len).next_multiple_of(ALIGN);
                    timeout = Some(Duration::ZERO);
                }
                Ok(None) => break,
                // It is the first one of the next call.
                Err(Failure::Channel(Error::TooLong { .. })) if count > 0 => break,
                Err(failure) if count > 0 => {
                    self.kept = Some(failure);
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(count)
    }
}

/// Opens the receiving end of the ring buffer from slot `from`, or of that from all others if `from` is IVSHMEM_CHANNEL_ALL.
/// Begins with the oldest message whose room was not given back. Does not block.
///
/// Returns 0; -ENXIO if the layout has no such ring buffer; -EALREADY if this program has it open; -ESTALE; -ECONNABORTED;
/// -EUCLEAN; -EINVAL if a pointer is null; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_receiver_open(
    member: Option<&Member>,
    from: u32,
    receiver: Option<&mut MaybeUninit<*mut Receiver>>,
) -> c_int {
    guard(|| {
        give(receiver, || {
            let member = of_member(member)?;
            let end = match from {
                IVSHMEM_CHANNEL_ALL => End::Many(member.multi_receiver()?),
                from => End::One(member.receiver(from)?),
            };
            Ok(Receiver {
                end,
                link: member.link().clone(),
                borrowed: None,
                events: EventLoop::default(),
                kept: None,
            })
        })
    })
}

/// Copies the next message to `buffer`, which has room for `size` bytes, and is done with it. Sets `from`, which may be
/// null, to the slot that sent it. Blocks until there is one, for up to `timeout_ns`.
///
/// Returns the message's length in bytes, which can be 0; -EAGAIN if there is none and `timeout_ns` is 0, -ETIMEDOUT if
/// the time is over; -EMSGSIZE if it does not fit: it is still the next one, and ivshmem_channel_receiver_peek() tells its
/// length; -ECANCELED; -ESTALE; -ECONNABORTED; -EUCLEAN; -EBADMSG, once or twice for each of several senders, whose other
/// messages are lost: call again for those of the others; -EINVAL if another pointer is null; -ENODEV.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_receiver_receive(
    receiver: Option<&mut Receiver>,
    buffer: *mut c_void,
    size: usize,
    from: Option<&mut MaybeUninit<u32>>,
    timeout_ns: i64,
) -> i64 {
    guard(|| {
        // SAFETY: The caller promises what `buffer` asks.
        let buffer = unsafe { of_buffer(buffer, size)? };
        let receiver = some(receiver, "the receiver")?;
        receiver.begin()?;
        let found = receiver.receive(buffer, timeout(timeout_ns))?;
        let (len, sender) = found.ok_or_else(|| Failure::none_within(timeout_ns))?;
        tell(from, sender);
        Ok(length(len))
    })
}

/// Receives up to `count` messages with one call: blocks for up to `timeout_ns` until there is one, and takes those that
/// are there by then and fit into `buffer`, which has room for `size` bytes. They are one after the other there, each from
/// a multiple of 8 bytes on; `messages` is set to where.
///
/// Returns how many, from 1 on; what ivshmem_channel_receiver_receive() returns if there is no first one; -EINVAL also if
/// `count` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_receiver_receive_many(
    receiver: Option<&mut Receiver>,
    messages: *mut Message,
    count: usize,
    buffer: *mut c_void,
    size: usize,
    timeout_ns: i64,
) -> i64 {
    guard(|| {
        // SAFETY: The caller promises what `written` asks.
        let messages = unsafe { written(messages, count)? };
        // SAFETY: The caller promises what `buffer` asks, and that the two do not overlap.
        let buffer = unsafe { of_buffer(buffer, size)? };
        if messages.is_empty() {
            return Err(Failure::Argument("there is room for no message"));
        }
        let receiver = some(receiver, "the receiver")?;
        receiver.begin()?;
        match receiver.receive_many(messages, buffer, timeout(timeout_ns))? {
            0 => Err(Failure::none_within(timeout_ns)),
            found => Ok(length(found)),
        }
    })
}

/// Waits for the next message as ivshmem_channel_receiver_receive() does, and leaves it there.
///
/// Returns its length in bytes, or what that returns.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_receiver_peek(
    receiver: Option<&mut Receiver>,
    from: Option<&mut MaybeUninit<u32>>,
    timeout_ns: i64,
) -> i64 {
    guard(|| {
        let receiver = some(receiver, "the receiver")?;
        receiver.begin()?;
        let limit = timeout(timeout_ns);
        let found = with_end!(&mut receiver.end, end => end.next(limit))?;
        let message = found.ok_or_else(|| Failure::none_within(timeout_ns))?;
        tell(from, message.from());
        Ok(length(message.len()))
    })
}

/// Waits for the next message as ivshmem_channel_receiver_receive() does, to read it where it is: `parts` are two, and are set to
/// where. The second one has no bytes unless the message goes over the end of the ring. The first one begins at a multiple of 8 bytes.
/// Sets `from`, which may be null, to the slot that sent it.
///
/// It stays the next one, and its sender does not write to it, until ivshmem_channel_receiver_done() or another call with the
/// receiver that receives. A sender that does not keep to the rules can change its bytes at any time: read once what decides, and
/// use nothing before ivshmem_channel_receiver_done() has returned 0. Nothing may be written there.
///
/// Returns its length in bytes, or what ivshmem_channel_receiver_receive() returns; -EINVAL also if `parts` is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ivshmem_channel_receiver_borrow(
    receiver: Option<&mut Receiver>,
    parts: *mut Part,
    from: Option<&mut MaybeUninit<u32>>,
    timeout_ns: i64,
) -> i64 {
    guard(|| {
        let receiver = some(receiver, "the receiver")?;
        receiver.borrowed = None;
        receiver.begin()?;
        let limit = timeout(timeout_ns);
        let found = with_end!(&mut receiver.end, end => end.next(limit))?;
        let message = found.ok_or_else(|| Failure::none_within(timeout_ns))?;
        // SAFETY: The caller promises what `parts` asks.
        unsafe { tell_parts(parts, &receiver.link, message.ranges())? };
        tell(from, message.from());
        receiver.borrowed = Some((message.from(), message.ranges()));
        Ok(length(message.len()))
    })
}

/// Goes on after the message that was borrowed. Does not block.
///
/// Returns 0; -ECONNABORTED if another program has taken this one's slot meanwhile: then what was read may be of other messages;
/// -EUCLEAN, or -EBADMSG of one of several senders, also if another message is there by now, which is still the next one then;
/// -ESTALE; -EINVAL if no message is borrowed, or `receiver` is null; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_receiver_done(receiver: Option<&mut Receiver>) -> c_int {
    guard(|| {
        let receiver = some(receiver, "the receiver")?;
        let borrowed = receiver.borrowed.take();
        let borrowed = borrowed.ok_or(Failure::Argument("no message is borrowed"))?;
        receiver.awake()?;
        let changed = receiver.changed(borrowed.0);
        let found = with_end!(&mut receiver.end, end => end.next(Some(Duration::ZERO)))?;
        // Another one was read by nobody: its sender may be another one too.
        let message = found.filter(|found| (found.from(), found.ranges()) == borrowed);
        let message = message.ok_or(changed)?;
        message.confirm()?;
        message.done()?;
        Ok(0)
    })
}

/// Gives the senders the room of all messages that were received, and rings those that wait for room. Does not block.
///
/// Returns 0; -ESTALE; -ECONNABORTED; -EUCLEAN; -EBADMSG of one of several senders: call again for the others; -EINVAL if
/// `receiver` is null; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_receiver_release(receiver: Option<&mut Receiver>) -> c_int {
    guard(|| {
        let receiver = some(receiver, "the receiver")?;
        receiver.awake()?;
        with_end!(&mut receiver.end, end => end.release())?;
        Ok(0)
    })
}

/// Lets `cancel` end the waiting for a message, also in calls to come. In a guest this takes the eventfd of the member's
/// vector, as ivshmem_channel_receiver_arm() does.
///
/// Returns 0; -EINVAL if a pointer is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_receiver_set_cancel(
    receiver: Option<&mut Receiver>,
    cancel: Option<&Cancel>,
) -> c_int {
    guard(|| {
        let cancel = of_cancel(cancel)?;
        with_end!(&mut some(receiver, "the receiver")?.end, end => end.set_cancel(cancel));
        Ok(0)
    })
}

/// A descriptor for poll(2), epoll(7) and event loops, which is ready for reading (POLLIN) once it is time to receive after
/// ivshmem_channel_receiver_arm(): there is a message, or the program has to show that it lives. It belongs to the
/// receiver, is always the same, and is neither read nor closed. The loop is: receive with a limit of 0 until -EAGAIN; arm;
/// begin again if that returned 0, and when the descriptor is ready.
///
/// Returns it; -EMFILE or -ENFILE; -EINVAL if `receiver` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_receiver_fd(receiver: Option<&mut Receiver>) -> c_int {
    guard(|| some(receiver, "the receiver")?.events.fd())
}

/// Has the descriptor become ready once there is a message, or a heartbeat is due. Does not block.
///
/// Returns 1 if it is armed; 0 if there is a message, or an error, by now: receive it; -ECANCELED; -ESTALE; -ECONNABORTED;
/// -EMFILE or -ENFILE; -EINVAL if `receiver` is null; -ENODEV.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_receiver_arm(receiver: Option<&mut Receiver>) -> c_int {
    guard(|| {
        let receiver = some(receiver, "the receiver")?;
        if receiver.kept.is_some() {
            return Ok(0);
        }
        receiver.awake()?;
        let Receiver { end, events, .. } = receiver;
        with_end!(end, end => events.arm(end))
    })
}

/// Has the descriptor be ready no more, until it is armed again. A program that stays away longer than a heartbeat of the
/// layout has to call ivshmem_channel_member_beat().
///
/// Returns 0; -EINVAL if `receiver` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_receiver_disarm(receiver: Option<&mut Receiver>) -> c_int {
    guard(|| {
        let Receiver { end, events, .. } = some(receiver, "the receiver")?;
        with_end!(end, end => events.disarm(end))
    })
}

/// Gives the senders the room of what was received, and closes the receiver. Nothing if it is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_receiver_close(receiver: Option<Box<Receiver>>) {
    free(receiver);
}
