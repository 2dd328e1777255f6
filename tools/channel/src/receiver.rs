// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The receiving end of a ring, with doorbell and time.

use std::time::{Duration, Instant};

use ivshmem::Link;

use crate::member::End;
use crate::ring::{Consumer, Record};
use crate::spin::Spin;
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
    spin: Spin,
}

impl<L: Link + Clone> Receiver<L> {
    pub(crate) fn new(end: End<L>, from: u32) -> Result<Self> {
        Ok(Self {
            ring: Consumer::attach(end.seat.link.clone(), end.place)?,
            end,
            from,
            spin: Spin::new(),
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
        let record = match self.ring.peek()? {
            Some(record) => record,
            None => match self.wait_for_record(timeout)? {
                Some(record) => record,
                None => return Ok(None),
            },
        };
        Ok(Some(Message {
            receiver: self,
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
        buffer.resize(message.len(), 0);
        message.read(0, buffer)?;
        message.done()?;
        Ok(true)
    }

    /// Gives the sender the room of all messages that are done, and rings it if it waits for room.
    ///
    /// # Errors
    ///
    /// [`Error::Link`], [`Error::Reset`], [`Error::Replaced`].
    pub fn release(&mut self) -> Result<()> {
        self.end.seat.check()?;
        if self.ring.release()? {
            self.end.seat.ring(self.from)?;
        }
        Ok(())
    }

    fn wait_for_record(&mut self, timeout: Option<Duration>) -> Result<Option<Record>> {
        // The sender cannot fill a ring that it believes to be full.
        self.release()?;
        let begin = Instant::now();
        loop {
            if let Some(record) = self.spin.look(|| self.ring.peek())? {
                return Ok(Some(record));
            }
            let left = timeout.map(|limit| limit.saturating_sub(begin.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            if let Some(word) = self.ring.arm()? {
                self.end.seat.sleep(word, left)?;
            }
        }
    }
}

/// A message, in the ring itself.
///
/// A sender that does not keep to the rules can still change its bytes: read what decides once.
#[derive(Debug)]
pub struct Message<'a, L: Link + Clone> {
    receiver: &'a mut Receiver<L>,
    record: Record,
}

impl<L: Link + Clone> Message<'_, L> {
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
        let memory = self.receiver.ring.memory();
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

    /// Goes on after it: the next call gives the next message.
    ///
    /// # Errors
    ///
    /// As [`Receiver::release`], which this calls when a quarter of the ring is done.
    pub fn done(self) -> Result<()> {
        let ring = &mut self.receiver.ring;
        ring.advance(self.record);
        if ring.unreleased() >= ring.size() / RELEASE_PART {
            self.receiver.release()?;
        }
        Ok(())
    }
}
