// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The receiving end of a ring, with doorbell and time.

use std::time::Duration;

use ivshmem::Link;

use crate::ring::{Consumer, Record};
use crate::seat::{End, Seat};
use crate::wait::Patience;
use crate::{Error, Result};

/// The part of the ring that may be done with before the sender is given it back without being asked.
const RELEASE_PART: u32 = 4;

/// The receiving end of a ring.
///
/// The sender gets back the room of messages that are [done](Message::done) when a quarter of the ring is, when
/// the ring is empty, and by [`release`](Self::release). If this program crashes, the next one gets all
/// messages again whose room was not given back.
#[derive(Debug)]
pub struct Receiver<L: Link + Clone> {
    ring: Consumer<L>,
    end: End<L>,
    from: u32,
    patience: Patience,
}

impl<L: Link + Clone> Receiver<L> {
    pub(crate) fn new(end: End<L>, from: u32) -> Result<Self> {
        Ok(Self {
            ring: Consumer::attach(end.seat.link.clone(), end.place)?,
            end,
            from,
            patience: Patience::with(1),
        })
    }

    /// Waits for the next message; `None` if the time is over. A limit of `None` waits for ever, and zero only
    /// looks. The same message again until it is [done](Message::done).
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`], [`Error::Reset`], [`Error::Replaced`], [`Error::Link`].
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Message<'_, L>>> {
        self.end.seat.check()?;
        self.end.seat.beat()?;
        let found = match self.ring.peek()? {
            Some(record) => Some(record),
            None => self.wait_for_record(timeout)?,
        };
        Ok(found.map(|record| Message {
            ring: &mut self.ring,
            seat: &self.end.seat,
            from: self.from,
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

    /// Gives the sender the room of all messages that are done, and rings it if it waits for room.
    ///
    /// # Errors
    ///
    /// [`Error::Link`], [`Error::Reset`], [`Error::Replaced`].
    pub fn release(&mut self) -> Result<()> {
        give_back(&mut self.ring, &self.end.seat, self.from)
    }

    fn wait_for_record(&mut self, timeout: Option<Duration>) -> Result<Option<Record>> {
        // The sender cannot fill a ring that it believes to be full.
        self.release()?;
        self.patience.wait(
            &self.end.seat,
            timeout,
            &mut self.ring,
            |ring| Ok(ring.peek()?),
            |ring| Ok(ring.arm()?),
        )
    }
}

/// Gives the sender in slot `from` the room of all messages that are done, and rings it if it waits for room.
pub(crate) fn give_back<L: Link + Clone>(
    ring: &mut Consumer<L>,
    seat: &Seat<L>,
    from: u32,
) -> Result<()> {
    seat.check()?;
    if ring.release()? {
        seat.ring(from)?;
    }
    Ok(())
}

/// A message, in the ring itself.
///
/// A sender that does not keep to the rules can still change its bytes: read what decides once.
#[derive(Debug)]
pub struct Message<'a, L: Link + Clone> {
    pub(crate) ring: &'a mut Consumer<L>,
    pub(crate) seat: &'a Seat<L>,
    pub(crate) from: u32,
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
    /// [`Error::TooLong`] if that leaves the message.
    pub fn read(&self, at: usize, into: &mut [u8]) -> Result<()> {
        let max = self.len();
        let end = at.saturating_add(into.len());
        if end > max {
            return Err(Error::TooLong { len: end, max });
        }
        let memory = self.ring.memory();
        Ok(memory.read(self.record.offset + at as u64, into)?)
    }

    /// A copy of it.
    ///
    /// # Errors
    ///
    /// [`Error::Link`].
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.len()];
        self.read(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Copies it into `buffer`, in place of what was there, and is done with it.
    ///
    /// # Errors
    ///
    /// As [`done`](Self::done).
    pub fn take(self, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.resize(self.len(), 0);
        self.read(0, buffer)?;
        self.done()
    }

    /// Goes on after it: the next call gives the next message.
    ///
    /// # Errors
    ///
    /// As [`Receiver::release`]: the room is given back when a quarter of the ring is done.
    pub fn done(self) -> Result<()> {
        self.ring.advance(self.record);
        if self.ring.unreleased() >= self.ring.size() / RELEASE_PART {
            give_back(self.ring, self.seat, self.from)?;
        }
        Ok(())
    }
}
