// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The sending end of a ring buffer, with doorbell and time.

use std::ops::Range;
use std::time::Duration;

use ivshmem::Link;

use crate::end::End;
use crate::ring::{Handover, Producer, Space};
use crate::wait::{Patience, Spin};
use crate::{Cancel, Error, Result};

/// The sending end of a ring buffer, or of this program's part of a ring buffer with several senders.
///
/// Messages arrive whole and in their order. Time limits: `None` waits for ever, zero only tries. Dropping it shows the
/// receiver what was queued.
#[derive(Debug)]
pub struct Sender<L: Link + Clone> {
    ring: Producer<L>,
    pub(crate) end: End<L>,
    to: u32,
    pub(crate) patience: Patience,
}

impl<L: Link + Clone> Sender<L> {
    pub(crate) fn new(end: End<L>, to: u32) -> Result<Self> {
        let seat = &end.seat;
        // A predecessor that may still run has lost this end when we joined.
        let before = Handover::Ended;
        let ring = Producer::attach(seat.link.clone(), end.place, before, &mut seat.may());
        Ok(Self {
            ring: ring.map_err(|fault| seat.explain(fault))?,
            end,
            to,
            patience: Patience::default(),
        })
    }

    /// How long to look for room before sleeping.
    pub fn set_spin(&mut self, spin: Spin) {
        self.patience.set_spin(spin);
    }

    /// Lets another thread end the waiting for room, also in calls to come, which give [`Error::Cancelled`] then. Where there
    /// is room, messages are still sent. In a guest this takes the eventfd of the member's vector in the
    /// [`Device`](ivshmem::Device).
    pub fn set_cancel(&mut self, cancel: &Cancel) {
        self.patience.set_cancel(cancel);
    }

    /// The longest message in bytes.
    pub fn longest(&self) -> usize {
        self.ring.longest()
    }

    /// Sends a message, and all that was committed before; waits until there is room.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], [`Error::TooLong`], [`Error::Corrupt`], [`Error::Reset`], [`Error::Replaced`],
    /// [`Error::Link`].
    pub fn send(&mut self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
        self.queue(message, timeout)?;
        // The channel was looked at right before.
        self.publish()
    }

    /// As [`send`](Self::send), but the receiver need not see the message before [`flush`](Self::flush): for
    /// many small messages at a time, which cost one doorbell.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn queue(&mut self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
        self.queue_parts(&[message], timeout)
    }

    /// As [`queue`](Self::queue), a message of these parts, one after the other.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn queue_parts(&mut self, parts: &[&[u8]], timeout: Option<Duration>) -> Result<()> {
        let len = parts.iter().map(|part| part.len()).sum();
        let mut space = self.reserve(len, timeout)?;
        let mut at = 0;
        for part in parts {
            space.write(at, part)?;
            at += part.len();
        }
        space.commit(len)
    }

    /// Makes room for a message of up to `len` bytes in the ring buffer itself; waits until there is some. What is
    /// dropped without a commit was never there.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn reserve(&mut self, len: usize, timeout: Option<Duration>) -> Result<Reservation<'_, L>> {
        let seat = &self.end.seat;
        seat.attend()?;
        let space = self.ring.reserve(len);
        let space = match space.map_err(|fault| seat.explain(fault))? {
            Some(space) => space,
            None => self.wait_for_room(len, timeout)?,
        };
        Ok(Reservation {
            sender: self,
            space,
        })
    }

    /// Shows the receiver all that was committed, and rings it if it sleeps.
    ///
    /// # Errors
    ///
    /// [`Error::Link`], [`Error::Reset`], [`Error::Replaced`].
    pub fn flush(&mut self) -> Result<()> {
        self.end.seat.check_generation()?;
        self.publish()
    }

    #[inline]
    fn publish(&mut self) -> Result<()> {
        let seat = &self.end.seat;
        match self.ring.publish() {
            Ok(false) => Ok(()),
            Ok(true) => seat.ring(self.to),
            Err(fault) => Err(seat.explain(fault)),
        }
    }

    /// For event loops: shows the receiver what was committed, and has it ring this end once there is room for `len` bytes.
    /// Returns whether there is none by now; see [`Receiver::arm`](crate::Receiver::arm).
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    pub fn arm(&mut self, len: usize) -> Result<bool> {
        self.flush()?;
        let seat = &self.end.seat;
        seat.beat()?;
        let armed = self.ring.arm(len).map_err(|fault| seat.explain(fault))?;
        Ok(armed.is_some())
    }

    /// Room for `len` bytes, to be waited for by [`select`](crate::select) or [`Watch`](crate::Watch).
    pub fn room(&mut self, len: usize) -> Room<'_, L> {
        Room { sender: self, len }
    }

    #[cold]
    fn wait_for_room(&mut self, len: usize, timeout: Option<Duration>) -> Result<Space> {
        // The receiver cannot make room by reading what it does not see.
        self.flush()?;
        let seat = &self.end.seat;
        let found = self.patience.wait(
            seat,
            timeout,
            &mut self.ring,
            |ring| ring.reserve(len).map_err(|fault| seat.explain(fault)),
            |ring, _| ring.arm(len).map_err(|fault| seat.explain(fault)),
        )?;
        found.ok_or(Error::TimedOut)
    }
}

impl<L: Link + Clone> Drop for Sender<L> {
    fn drop(&mut self) {
        let seat = std::sync::Arc::clone(&self.end.seat);
        seat.at_end(|| self.publish());
    }
}

/// Room that may come: what [`Sender::room`] gives.
#[derive(Debug)]
pub struct Room<'a, L: Link + Clone> {
    pub(crate) sender: &'a mut Sender<L>,
    pub(crate) len: usize,
}

/// Room for a message in the ring buffer itself.
#[derive(Debug)]
pub struct Reservation<'a, L: Link + Clone> {
    sender: &'a mut Sender<L>,
    space: Space,
}

impl<L: Link + Clone> Reservation<'_, L> {
    /// Bytes of room.
    pub fn len(&self) -> usize {
        self.space.len as usize
    }

    /// Whether there is room for an empty message only.
    pub fn is_empty(&self) -> bool {
        self.space.len == 0
    }

    /// Copies `bytes` to byte `at` of the message.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] if that leaves the room.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        let max = self.len();
        let end = at.saturating_add(bytes.len());
        if end > max {
            return Err(Error::TooLong { len: end, max });
        }
        // CAST: Not above the length, which has 32 bits.
        let (memory, at) = (self.sender.ring.memory(), at as u32);
        Ok(self.space.bytes.write(memory, at, bytes)?)
    }

    /// Where in the memory the message has to be, in bytes: for code that has the [address](ivshmem::Memory::address) of these,
    /// and writes there by itself. The second part is empty unless the message goes over the end of the ring. The first one begins
    /// at a multiple of 8.
    pub fn ranges(&self) -> [Range<u64>; 2] {
        self.space.bytes.ranges(self.space.len)
    }

    /// Ends the message with its first `len` bytes. [`Sender::flush`] shows it to the receiver.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`].
    pub fn commit(self, len: usize) -> Result<()> {
        Ok(self.sender.ring.commit(self.space, len)?)
    }
}
