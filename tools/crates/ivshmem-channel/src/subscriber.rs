// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! An end of a topic that reads, with doorbell and time.

use std::time::Duration;

use ivshmem::Link;

use crate::end::End;
use crate::topic::{Found, Reader, Topic};
use crate::wait::{Patience, Spin};
use crate::{Cancel, Result};

/// An end of a topic that reads.
///
/// It begins with the newest value, or with the first one if there is none yet. Of a publisher that was replaced it reads the
/// newest value only.
///
/// A publisher that does not keep to the rules can make values that it never published, but can make nobody wait longer
/// than the time limit.
#[derive(Debug)]
pub struct Subscriber<L: Link + Clone> {
    reader: Reader<L>,
    pub(crate) end: End<L, Topic>,
    publisher: u32,
    pub(crate) patience: Patience,
}

impl<L: Link + Clone> Subscriber<L> {
    pub(crate) fn new(end: End<L, Topic>, publisher: u32) -> Result<Self> {
        let seat = &end.seat;
        let reader = Reader::new(seat.link.clone(), end.place);
        Ok(Self {
            reader: reader.map_err(|fault| seat.explain(fault))?,
            end,
            publisher,
            patience: Patience::default(),
        })
    }

    /// How long to look for a value before sleeping.
    pub fn set_spin(&mut self, spin: Spin) {
        self.patience.set_spin(spin);
    }

    /// Lets another thread end the waiting; see [`Receiver::set_cancel`](crate::Receiver::set_cancel).
    pub fn set_cancel(&mut self, cancel: &Cancel) {
        self.patience.set_cancel(cancel);
    }

    /// The slot that publishes.
    pub fn publisher(&self) -> u32 {
        self.publisher
    }

    /// The longest value in bytes.
    pub fn longest(&self) -> usize {
        self.end.place.size as usize
    }

    /// Takes the next value into `buffer`, in place of what was there: the oldest one that was not read here and is
    /// still there. Returns how many were missed before it; `None` if the time is over, after which `buffer` means
    /// nothing. A limit of `None` waits for ever, and zero only looks.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`](crate::Error::Cancelled), [`Error::Reset`](crate::Error::Reset),
    /// [`Error::Replaced`](crate::Error::Replaced), [`Error::Link`](crate::Error::Link).
    pub fn next(&mut self, buffer: &mut Vec<u8>, timeout: Option<Duration>) -> Result<Option<u32>> {
        self.wait(timeout, |reader| reader.next(buffer))
    }

    /// As [`next`](Self::next), but the newest value, for those who want no other.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn newest(
        &mut self,
        buffer: &mut Vec<u8>,
        timeout: Option<Duration>,
    ) -> Result<Option<u32>> {
        self.wait(timeout, |reader| reader.newest(buffer))
    }

    /// For event loops: has the next value ring this end once; see [`Receiver::arm`](crate::Receiver::arm). A value that
    /// is written over meanwhile can be rung for and not be found.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn arm(&mut self) -> Result<bool> {
        let seat = &self.end.seat;
        seat.attend()?;
        let armed = self.reader.arm(seat.slot);
        Ok(armed.map_err(|fault| seat.explain(fault))?.is_some())
    }

    /// Whether there seems to be a value.
    pub(crate) fn has_news(&mut self) -> Result<bool> {
        let seat = &self.end.seat;
        seat.attend()?;
        self.reader.has_news().map_err(|fault| seat.explain(fault))
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut take: impl FnMut(&mut Reader<L>) -> Result<Option<Found>, crate::ring::Fault>,
    ) -> Result<Option<u32>> {
        let seat = &self.end.seat;
        seat.attend()?;
        let explain = |fault| seat.explain(fault);
        let found = match take(&mut self.reader).map_err(explain)? {
            Some(found) => Some(found),
            None => self.patience.wait(
                seat,
                timeout,
                &mut self.reader,
                |reader| take(reader).map_err(explain),
                |reader, _| reader.arm(seat.slot).map_err(explain),
            )?,
        };
        Ok(found.map(|found| found.missed))
    }
}
