// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Sleeping on descriptors: until rung, or until somebody ends the wait.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use ivshmem::{Bell, Link};

use crate::cancel::{self, Cancel};
use crate::seat::Seat;
use crate::Result;

/// What wakes one handle.
///
/// Public in a module that is not: [`Selected`](crate::select::Selected) shows it.
#[derive(Debug, Default)]
pub struct Alarm {
    bell: Option<Bell>,
    cancel: Option<Cancel>,
}

impl Alarm {
    pub(crate) fn set_cancel(&mut self, cancel: &Cancel) {
        self.cancel = Some(cancel.clone());
    }

    pub(crate) fn cancel(&self) -> Option<&Cancel> {
        self.cancel.as_ref()
    }

    /// Whether sleeping on a word is not enough.
    pub(crate) fn is_set(&self) -> bool {
        self.cancel.is_some()
    }

    /// [`Error::Cancelled`](crate::Error::Cancelled) if the wait was ended.
    pub(crate) fn check(&self) -> Result<()> {
        self.cancel.as_ref().map_or(Ok(()), Cancel::check)
    }

    /// Hears all rings from here on. Comes before the ring is asked for.
    pub(crate) fn listen<L: Link>(&mut self, seat: &Seat<L>) -> Result<()> {
        match &self.bell {
            Some(bell) => drop(bell.take()?),
            None => self.bell = seat.bell()?,
        }
        Ok(())
    }

    /// What is ready once it is time to look.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let bell = self.bell.iter().map(AsFd::as_fd);
        bell.chain(self.cancel.iter().map(AsFd::as_fd))
    }

    /// For how long to sleep at most.
    pub(crate) fn limit<L: Link>(&self, seat: &Seat<L>) -> Option<Duration> {
        self.bell.is_none().then(|| seat.interval())
    }

    /// Sleeps until it goes off, for at most `left` or until a heartbeat of `seat` is due. Returns whether it did.
    pub(crate) fn sleep<L: Link>(&self, seat: &Seat<L>, left: Option<Duration>) -> Result<bool> {
        let shortest = self.limit(seat).into_iter().chain(left).min();
        let fds: Vec<_> = self.fds().collect();
        let rung = cancel::sleep(&fds, seat.sleep_limit(shortest));
        seat.awake()?;
        self.check()?;
        Ok(rung)
    }
}
