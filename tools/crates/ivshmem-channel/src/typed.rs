// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Messages and values of one type.

use std::marker::PhantomData;
use std::time::Duration;

use ivshmem::Link;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{Error, Message, MultiReceiver, Publisher, Receiver, Result, Sender, Subscriber};

/// Types whose bytes can be sent: without padding or references, and such that all bytes are a value, for another program
/// may send any. Derive zerocopy's traits for a structure; for numbers that a peer of other byte order may read,
/// take those of `zerocopy::little_endian`.
pub trait Plain: FromBytes + IntoBytes + Immutable {}

impl<T: FromBytes + IntoBytes + Immutable> Plain for T {}

/// An end of a ring buffer or a topic all of whose messages are values of `T`: a [`Sender`], [`Receiver`], [`MultiReceiver`],
/// [`Publisher`] or [`Subscriber`], with the feature `zerocopy`.
///
/// What another program sends that has another length is [`Error::OtherType`], and is done with: the next call goes on.
/// Types of the same length are not told apart.
///
/// ```no_run
/// # fn main() -> Result<(), ivshmem_channel::Error> {
/// # use ivshmem::Endpoint;
/// # use ivshmem_channel::{Channel, Typed};
/// use zerocopy::{FromBytes, Immutable, IntoBytes};
///
/// #[derive(FromBytes, IntoBytes, Immutable)]
/// #[repr(C)]
/// struct Position {
///     x: f64,
///     y: f64,
/// }
///
/// # let end = Endpoint::open("/dev/ivshmem0")?;
/// # let me = Channel::open(&end, 0)?.join(0, 0)?;
/// let mut to = Typed::<Position, _>::new(me.sender(1)?);
/// let mut from = Typed::<Position, _>::new(me.receiver(1)?);
/// to.send(&Position { x: 1.0, y: 2.0 }, None)?;
/// if let Some(position) = from.receive(None)? {
///     println!("{} {}", position.x, position.y);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Typed<T, E> {
    end: E,
    /// Neither owns values nor borrows them.
    of: PhantomData<fn(T) -> T>,
}

impl<T: Plain, E> Typed<T, E> {
    /// Of `end`.
    pub fn new(end: E) -> Self {
        Self {
            end,
            of: PhantomData,
        }
    }

    /// The end, for what it can besides.
    pub fn get_mut(&mut self) -> &mut E {
        &mut self.end
    }

    /// The end.
    pub fn into_inner(self) -> E {
        self.end
    }
}

impl<T: Plain, L: Link + Clone> Typed<T, Sender<L>> {
    /// Sends a value; see [`Sender::send`].
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub fn send(&mut self, value: &T, timeout: Option<Duration>) -> Result<()> {
        self.end.send(value.as_bytes(), timeout)
    }
}

impl<T: Plain, L: Link + Clone> Typed<T, Receiver<L>> {
    /// Takes the next value, which is copied once; `None` if there is none within the time.
    ///
    /// # Errors
    ///
    /// [`Error::OtherType`], and those of [`Receiver::next`].
    pub fn receive(&mut self, timeout: Option<Duration>) -> Result<Option<T>> {
        self.end.next(timeout)?.map(take).transpose()
    }
}

impl<T: Plain, L: Link + Clone> Typed<T, MultiReceiver<L>> {
    /// Takes the next value of anybody, with the slot that sent it; `None` if there is none within the time.
    ///
    /// # Errors
    ///
    /// [`Error::OtherType`], and those of [`MultiReceiver::next`].
    pub fn receive(&mut self, timeout: Option<Duration>) -> Result<Option<(u32, T)>> {
        let Some(message) = self.end.next(timeout)? else {
            return Ok(None);
        };
        let from = message.from();
        Ok(Some((from, take(message)?)))
    }
}

impl<T: Plain, L: Link + Clone> Typed<T, Publisher<L>> {
    /// Publishes a value; see [`Publisher::publish`].
    ///
    /// # Errors
    ///
    /// As [`Publisher::publish`].
    pub fn publish(&mut self, value: &T) -> Result<()> {
        self.end.publish(value.as_bytes())
    }
}

impl<T: Plain, L: Link + Clone> Typed<T, Subscriber<L>> {
    /// The newest value; see [`Subscriber::newest`].
    ///
    /// # Errors
    ///
    /// [`Error::OtherType`], and those of [`Subscriber::newest`].
    pub fn newest(&mut self, timeout: Option<Duration>) -> Result<Option<T>> {
        let mut bytes = Vec::new();
        let found = self.end.newest(&mut bytes, timeout)?;
        found.map(|_| self.of_bytes(&bytes)).transpose()
    }

    /// The next value, and how many were missed before it; see [`Subscriber::next`].
    ///
    /// # Errors
    ///
    /// As [`newest`](Self::newest).
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<(T, u32)>> {
        let mut bytes = Vec::new();
        let found = self.end.next(&mut bytes, timeout)?;
        let value = |missed| Ok((self.of_bytes(&bytes)?, missed));
        found.map(value).transpose()
    }

    fn of_bytes(&self, bytes: &[u8]) -> Result<T> {
        T::read_from_bytes(bytes).map_err(|_| Error::OtherType {
            from: self.end.publisher(),
            len: bytes.len(),
            expected: size_of::<T>(),
        })
    }
}

/// Takes a message as a value.
fn take<T: Plain, L: Link + Clone>(message: Message<'_, L>) -> Result<T> {
    let (from, len, expected) = (message.from(), message.len(), size_of::<T>());
    if len != expected {
        message.done()?;
        return Err(Error::OtherType {
            from,
            len,
            expected,
        });
    }
    let mut value = T::new_zeroed();
    message.read(0, value.as_mut_bytes())?;
    message.done()?;
    Ok(value)
}
