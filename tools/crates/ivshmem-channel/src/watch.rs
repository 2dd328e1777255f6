// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A descriptor for event loops.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{epoll, Timespec};
use rustix::io::Errno;
use rustix::time::{
    timerfd_create, timerfd_settime, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags,
};

use crate::{Cancel, Result, Selectable};

const NEVER: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// A descriptor for any event loop, which is ready for reading once it is time to look at one receiver, or at the room
/// of one sender: when that was rung, when a heartbeat is due, and in each [interval](ivshmem::Waiter::interval) where nobody can ring.
///
/// ```no_run
/// # fn main() -> Result<(), ivshmem_channel::Error> {
/// # use std::time::Duration;
/// # use ivshmem::Endpoint;
/// # use ivshmem_channel::{Channel, Watch};
/// # fn poll(_: &impl std::os::fd::AsFd) {}
/// # let end = Endpoint::open("/dev/ivshmem0")?;
/// # let me = Channel::open(&end, 0)?.join(0, 0)?;
/// let mut receiver = me.receiver(1)?;
/// let watch = Watch::new()?;
/// loop {
///     while let Some(message) = receiver.next(Some(Duration::ZERO))? {
///         println!("{:?}", message.to_vec()?);
///         message.done()?;
///     }
///     if watch.arm(&mut receiver)? {
///         poll(&watch); // the loop's, together with whatever else it waits for
///         watch.awake(&receiver)?;
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Watch {
    /// Has the timer, and while it is armed the bell.
    epoll: OwnedFd,
    timer: OwnedFd,
    /// What is in there and ends a wait: the receiver may be given another one.
    cancel: Mutex<Option<Cancel>>,
}

impl Watch {
    /// One that is not armed.
    ///
    /// # Errors
    ///
    /// [`Error::Link`](crate::Error::Link) if there can be no more open files.
    pub fn new() -> Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(watching)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(watching)?;
        add(&epoll, timer.as_fd())?;
        Ok(Self {
            epoll,
            timer,
            cancel: Mutex::default(),
        })
    }

    /// Asks for the descriptor to become ready once there is something. Returns `false` if there is by now, also an
    /// error: look instead of waiting. Does not block. Always for the same `receiver`, or room of the same sender.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`](crate::Error::Cancelled) if that was asked of the receiver;
    /// [`Error::Link`](crate::Error::Link) if it cannot be listened to, for example because there can be no more open
    /// files. All others come out of the receiver itself.
    pub fn arm(&self, receiver: &mut impl Selectable) -> Result<bool> {
        receiver.alarm().check()?;
        if !receiver.arm_alarm()? {
            return Ok(false);
        }
        for fd in receiver.alarm().fds() {
            add(&self.epoll, fd)?;
        }
        self.keep(receiver.alarm().cancel())?;
        self.set(receiver.sleep_limit())?;
        Ok(true)
    }

    /// Comes after the descriptor was ready, and before looking: shows that the program lives, and finds out whether the
    /// memory is still there.
    ///
    /// # Errors
    ///
    /// [`Error::Reset`](crate::Error::Reset), [`Error::Replaced`](crate::Error::Replaced),
    /// [`Error::Link`](crate::Error::Link).
    pub fn awake(&self, receiver: &impl Selectable) -> Result<()> {
        receiver.awake()
    }

    /// Has the descriptor be ready no more, until it is armed again. The program has to show by other calls that it
    /// lives.
    ///
    /// # Errors
    ///
    /// [`Error::Link`](crate::Error::Link), which a descriptor that is open does not give.
    pub fn disarm(&self, receiver: &impl Selectable) -> Result<()> {
        for fd in receiver.alarm().fds() {
            self.remove(fd)?;
        }
        self.keep(None)?;
        self.set(Duration::ZERO)
    }

    /// Hears this of all that ended the receiver's waits.
    fn keep(&self, cancel: Option<&Cancel>) -> Result<()> {
        // Each change leaves it whole.
        let mut kept = self.cancel.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *kept, cancel.cloned());
        match before {
            Some(before) if !cancel.is_some_and(|cancel| cancel.is(&before)) => {
                self.remove(before.as_fd())
            }
            _ => Ok(()),
        }
    }

    /// Removes a descriptor that need not be there.
    fn remove(&self, fd: BorrowedFd<'_>) -> Result<()> {
        match epoll::delete(&self.epoll, fd) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(watching(error)),
        }
    }

    /// Sets the timer; zero stops it.
    fn set(&self, time: Duration) -> Result<()> {
        let once = Itimerspec {
            it_interval: NEVER,
            it_value: Timespec::try_from(time).unwrap_or(NEVER),
        };
        let set = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
        set.map(drop).map_err(watching)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}

/// Adds a descriptor that may be there already.
fn add(epoll: &OwnedFd, fd: BorrowedFd<'_>) -> Result<()> {
    match epoll::add(
        epoll,
        fd,
        epoll::EventData::new_u64(0),
        epoll::EventFlags::IN,
    ) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(watching(error)),
    }
}

fn watching(error: Errno) -> crate::Error {
    ivshmem::Error::io(error, "cannot watch a channel").into()
}
