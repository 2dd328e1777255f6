// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Ends a wait from another thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::{Error, Result};

/// Ends waits from another thread: every wait that it was given to gives [`Error::Cancelled`] from then on. Clones are
/// the same.
///
/// ```no_run
/// # fn main() -> Result<(), ivshmem_channel::Error> {
/// # use ivshmem::Endpoint;
/// # use ivshmem_channel::{Cancel, Channel, Error};
/// # let end = Endpoint::open("/dev/ivshmem0")?;
/// # let me = Channel::open(&end, 0)?.join(0, 0)?;
/// let mut receiver = me.receiver(1)?;
/// let cancel = Cancel::new()?;
/// receiver.set_cancel(&cancel);
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         // For example when the program is told to end.
///         cancel.cancel();
///     });
///     assert!(matches!(receiver.next(None), Err(Error::Cancelled)));
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Looked at while there is something to do.
    used: AtomicBool,
    /// Slept on.
    eventfd: OwnedFd,
}

impl Cancel {
    /// One that was not used yet.
    ///
    /// # Errors
    ///
    /// [`Error::Link`] if there can be no more open files.
    pub fn new() -> Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let fd = fd.map_err(|error| ivshmem::Error::io(error, "cannot make an eventfd"))?;
        Ok(Self(Arc::new(Inner {
            used: AtomicBool::new(false),
            eventfd: fd,
        })))
    }

    /// Ends all waits that it was given to, now and later.
    pub fn cancel(&self) {
        self.0.used.store(true, Ordering::Release);
        // Its counter cannot be full: nobody takes from it, and it is added to as long as somebody calls.
        let _ = rustix::io::write(&self.0.eventfd, &1u64.to_ne_bytes());
    }

    /// Whether it was used.
    pub fn is_cancelled(&self) -> bool {
        self.0.used.load(Ordering::Acquire)
    }

    /// Whether it is a clone of `other`.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// [`Error::Cancelled`] if it was used.
    pub(crate) fn check(&self) -> Result<()> {
        match self.is_cancelled() {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }
}

impl AsFd for Cancel {
    /// Ready for reading once it was used.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.eventfd.as_fd()
    }
}

/// Sleeps for so long, unless that is cancelled.
pub(crate) fn nap(time: Duration, cancel: Option<&Cancel>) -> Result<()> {
    let Some(cancel) = cancel else {
        std::thread::sleep(time);
        return Ok(());
    };
    match sleep(&[cancel.as_fd()], time) {
        true => Err(Error::Cancelled),
        false => Ok(()),
    }
}

/// Sleeps until one of `fds` is ready for reading, which it returns, or the time is over.
pub(crate) fn sleep(fds: &[BorrowedFd<'_>], time: Duration) -> bool {
    let begin = Instant::now();
    loop {
        let left = time.saturating_sub(begin.elapsed());
        let limit = Timespec::try_from(left).unwrap_or(Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        });
        let mut fds: Vec<_> = fds
            .iter()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        match poll(&mut fds, Some(&limit)) {
            Err(Errno::INTR) => {}
            Ok(ready) => return ready > 0,
            // Nothing to sleep on is nothing to wait for.
            Err(_) => return false,
        }
    }
}
