// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The receiving end of a ring buffer, with doorbell and time.

use std::ops::Range;
use std::time::Duration;

use ivshmem::Link;

use crate::end::End;
use crate::ring::{Consumer, Record};
use crate::seat::Seat;
use crate::wait::{Patience, Spin};
use crate::{Cancel, Error, Result};

/// The part of the ring buffer that may be done with before the sender is given it back without being asked.
const RELEASE_PART: u32 = 4;

/// The receiving end of a ring buffer.
///
/// The sender gets back the room of messages that are [done](Message::done) when a quarter of the ring buffer is, when
/// no more have arrived, by [`release`](Self::release), and when this is dropped. If this program crashes, the next one
/// gets all messages again whose room was not given back.
#[derive(Debug)]
pub struct Receiver<L: Link + Clone> {
    ring: Consumer<L>,
    pub(crate) end: End<L>,
    from: u32,
    pub(crate) patience: Patience,
}

impl<L: Link + Clone> Receiver<L> {
    pub(crate) fn new(end: End<L>, from: u32) -> Result<Self> {
        let seat = &end.seat;
        let ring = Consumer::attach(seat.link.clone(), end.place, &mut seat.may());
        Ok(Self {
            ring: ring.map_err(|fault| seat.explain(fault))?,
            end,
            from,
            patience: Patience::default(),
        })
    }

    /// How long to look for a message before sleeping.
    pub fn set_spin(&mut self, spin: Spin) {
        self.patience.set_spin(spin);
    }

    /// Lets another thread end the waiting for a message, also in calls to come, which give [`Error::Cancelled`] then. Messages
    /// that are there are still received. In a guest this takes the eventfd of the member's vector in the
    /// [`Device`](ivshmem::Device).
    pub fn set_cancel(&mut self, cancel: &Cancel) {
        self.patience.set_cancel(cancel);
    }

    /// Waits for the next message; `None` if the time is over. A limit of `None` waits for ever, and zero only
    /// looks. The same message again until it is [done](Message::done).
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::Reset`], [`Error::Replaced`], [`Error::Link`].
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Message<'_, L>>> {
        let seat = &self.end.seat;
        seat.attend()?;
        let found = match self.ring.peek().map_err(|fault| seat.explain(fault))? {
            Some(record) => Some(record),
            None => self.wait_for_record(timeout)?,
        };
        Ok(found.map(|record| Message {
            ring: &mut self.ring,
            seat: &self.end.seat,
            from: self.from,
            several: false,
            record,
        }))
    }

    /// Takes the next message into `buffer`, in place of what was there, and is done with it. Returns whether
    /// there was one within the time.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn receive(&mut self, buffer: &mut Vec<u8>, timeout: Option<Duration>) -> Result<bool> {
        let Some(message) = self.next(timeout)? else {
            return Ok(false);
        };
        message.take(buffer)?;
        Ok(true)
    }

    /// As [`receive`](Self::receive), into a slice: returns the length of the message, `None` if there was none within the
    /// time.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next), and [`Error::TooLong`] if it does not fit: it is still the next one then.
    pub fn receive_into(
        &mut self,
        buffer: &mut [u8],
        timeout: Option<Duration>,
    ) -> Result<Option<usize>> {
        let Some(message) = self.next(timeout)? else {
            return Ok(None);
        };
        message.take_into(buffer).map(Some)
    }

    /// Takes one message after the other, and is done with each. Ends when there is none for `timeout`, and after an
    /// error.
    ///
    /// Errors are those of [`next`](Self::next).
    pub fn iter(
        &mut self,
        timeout: Option<Duration>,
    ) -> impl Iterator<Item = Result<Vec<u8>>> + '_ {
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let mut bytes = Vec::new();
            let found = self.receive(&mut bytes, timeout);
            ended = !matches!(found, Ok(true));
            found.map(|found| found.then_some(bytes)).transpose()
        })
    }

    /// For event loops: has the next message ring this end once. Returns whether there is none by now, so that it is
    /// time to sleep on what the link is rung by (in a guest the [`Device`](ivshmem::Device) as a file), for a heartbeat
    /// at most, and then to look by [`next`](Self::next) with a limit of zero, and to arm again. Does not block.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn arm(&mut self) -> Result<bool> {
        let seat = &self.end.seat;
        seat.attend()?;
        Ok(arm(&mut self.ring, seat, self.from)?.is_some())
    }

    /// Gives the sender the room of all messages that are done, and rings it if it waits for room.
    ///
    /// # Errors
    ///
    /// [`Error::Link`], [`Error::Reset`], [`Error::Replaced`].
    pub fn release(&mut self) -> Result<()> {
        give_back(&mut self.ring, &self.end.seat, self.from)
    }

    /// Bytes of the ring buffer.
    pub(crate) fn size(&self) -> usize {
        self.ring.size() as usize
    }

    #[cold]
    fn wait_for_record(&mut self, timeout: Option<Duration>) -> Result<Option<Record>> {
        // The sender cannot fill a ring buffer that it believes to be full.
        self.release()?;
        let seat = &self.end.seat;
        self.patience.wait(
            seat,
            timeout,
            &mut self.ring,
            |ring| ring.peek().map_err(|fault| seat.explain(fault)),
            |ring, _| arm(ring, seat, self.from),
        )
    }
}

/// Asks the sender in slot `from` to ring. It may wait itself, for the room of what it had to leave out, which no message
/// gives back.
fn arm<L: Link + Clone>(
    ring: &mut Consumer<L>,
    seat: &Seat<L>,
    from: u32,
) -> Result<Option<(u64, u32)>> {
    let armed = ring.arm().map_err(|fault| seat.explain(fault))?;
    give_back(ring, seat, from)?;
    Ok(armed)
}

/// Gives the sender in slot `from` the room of all messages that are done, and rings it if it waits for room.
#[inline]
pub(crate) fn give_back<L: Link + Clone>(
    ring: &mut Consumer<L>,
    seat: &Seat<L>,
    from: u32,
) -> Result<()> {
    match ring.release() {
        Ok(false) => Ok(()),
        Ok(true) => seat.ring(from),
        Err(fault) => Err(seat.explain(fault)),
    }
}

/// What an error of the lane of slot `from` is to the receiver of all.
pub(crate) fn of_lane(from: u32, error: Error) -> Error {
    match error {
        Error::Corrupt(what) => Error::CorruptLane { from, what },
        other => other,
    }
}

impl<L: Link + Clone> Drop for Receiver<L> {
    fn drop(&mut self) {
        let seat = std::sync::Arc::clone(&self.end.seat);
        seat.at_end(|| self.release());
    }
}

/// A message, in the ring buffer itself.
///
/// A sender that does not keep to the rules can still change its bytes: read what decides once.
#[derive(Debug)]
pub struct Message<'a, L: Link + Clone> {
    pub(crate) ring: &'a mut Consumer<L>,
    pub(crate) seat: &'a Seat<L>,
    pub(crate) from: u32,
    /// Whether the ring buffer has other senders, which need not know what this one spoils.
    pub(crate) several: bool,
    pub(crate) record: Record,
}

impl<L: Link + Clone> Message<'_, L> {
    /// The slot that sent it.
    pub fn from(&self) -> u32 {
        self.from
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.record.len as usize
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.record.len == 0
    }

    /// Copies bytes from byte `at` of the message on.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] if that leaves the message; [`Error::Corrupt`], or [`Error::CorruptLane`] of one of several
    /// senders; [`Error::Replaced`], [`Error::Reset`], [`Error::Link`].
    pub fn read(&self, at: usize, into: &mut [u8]) -> Result<()> {
        let max = self.len();
        let end = at.saturating_add(into.len());
        if end > max {
            return Err(Error::TooLong { len: end, max });
        }
        // CAST: Not above the length, which has 32 bits.
        let (memory, at) = (self.ring.memory(), at as u32);
        self.record.bytes.read(memory, at, into)?;
        self.confirm()
    }

    /// Where in the memory the message is, in bytes: for code that has the [address](ivshmem::Memory::address) of these, and
    /// reads there by itself, before [`confirm`](Self::confirm). The second part is empty unless the message goes over the end of
    /// the ring. The first one begins at a multiple of 8.
    pub fn ranges(&self) -> [Range<u64>; 2] {
        self.record.bytes.ranges(self.record.len)
    }

    /// Whether all that was read from [`ranges`](Self::ranges) up to here was of this message: if another program has our slot,
    /// it may have given the room back, and that have become another message's.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn confirm(&self) -> Result<()> {
        let confirmed = self.ring.confirm();
        confirmed.map_err(|fault| self.of_lane(self.seat.explain(fault)))
    }

    /// Of a lane, what is corrupt concerns its sender alone.
    fn of_lane(&self, error: Error) -> Error {
        match self.several {
            true => of_lane(self.from, error),
            false => error,
        }
    }

    /// A copy of it.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.len());
        self.append_to(&mut bytes)?;
        Ok(bytes)
    }

    /// Copies it into `buffer`, in place of what was there, and is done with it.
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done).
    pub fn take(self, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.clear();
        self.append_to(buffer)?;
        self.done()
    }

    fn append_to(&self, buffer: &mut Vec<u8>) -> Result<()> {
        let (record, memory) = (&self.record, self.ring.memory());
        record.bytes.append(memory, record.len, buffer)?;
        self.confirm()
    }

    /// Copies it to the beginning of `buffer`, and is done with it. Returns its length.
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done), and [`Error::TooLong`] if it does not fit: it is not done then.
    pub fn take_into(self, buffer: &mut [u8]) -> Result<usize> {
        let (len, max) = (self.len(), buffer.len());
        let part = buffer.get_mut(..len).ok_or(Error::TooLong { len, max })?;
        self.read(0, part)?;
        self.done()?;
        Ok(len)
    }

    /// Goes on after it: the next call gives the next message.
    ///
    /// # Errors
    ///
    /// As [`Receiver::release`] or [`MultiReceiver::release`](crate::MultiReceiver::release): the room may be given back.
    pub fn done(self) -> Result<()> {
        self.ring.advance(self.record);
        let much = self.ring.unreleased() >= self.ring.size() / RELEASE_PART;
        if much || self.ring.has_received_all() {
            let given = give_back(self.ring, self.seat, self.from);
            return given.map_err(|error| self.of_lane(error));
        }
        Ok(())
    }
}
