// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How the parts of a work end together.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ivshmem_channel::{Cancel, Error};
use rustix::event::{poll, PollFd, PollFlags, Timespec};

/// What ends all parts of a work once one of them has failed.
#[derive(Debug)]
pub struct Ending {
    cancel: Cancel,
    reason: Mutex<Option<Error>>,
}

impl Ending {
    /// For a work that begins.
    pub fn new() -> Result<Self, Error> {
        Ok(Self {
            cancel: Cancel::new()?,
            reason: Mutex::new(None),
        })
    }

    /// What ends the parts' waits.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Ends the work for this reason, unless there is another one already.
    pub fn end(&self, reason: Error) {
        let mut first = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(reason);
        self.cancel.cancel();
    }

    /// Why it has ended.
    pub fn reason(&self) -> Error {
        let mut first = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        first.take().unwrap_or(Error::Cancelled)
    }
}

/// Sleeps for so long, or until one of `cancels` is used: whether that was why.
pub fn sleep(cancels: &[&Cancel], time: Duration) -> bool {
    let begin = Instant::now();
    let used = || cancels.iter().any(|cancel| cancel.is_cancelled());
    while !used() {
        let left = time.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return false;
        }
        let fds = cancels.iter();
        let mut fds: Vec<_> = fds
            .map(|cancel| PollFd::new(*cancel, PollFlags::IN))
            .collect();
        let limit = Timespec::try_from(left).expect("pauses are short");
        // A signal is no reason to stop. Other failures there are none with descriptors that are open.
        let _ = poll(&mut fds, Some(&limit));
    }
    true
}
