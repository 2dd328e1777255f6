// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The state with its lock, and those who sleep until it changes.
//!
//! Of those who wait for rings one polls the doorbells themselves, so that a ring wakes it and no other thread before it. The
//! others sleep until that one, or the listener, has changed the state; one of them polls when it has left. Nobody sleeps with
//! the lock, or calls what could block.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::eventfd::Eventfd;
use crate::state::{take_ready, Doorbell, State, Taken};

#[derive(Debug)]
pub(crate) struct Board {
    shared: Mutex<Shared>,
    changed: Condvar,
    /// Wakes the thread that polls: what it would hear was taken by another, or there are more doorbells.
    nudge: Eventfd,
}

/// The state, and who sleeps.
#[derive(Debug)]
struct Shared {
    state: State,
    /// How many sleep in `changed`.
    sleeping: usize,
    /// Whether a thread polls the doorbells.
    polling: bool,
}

type Guard<'a> = MutexGuard<'a, Shared>;

impl Board {
    pub fn new() -> Result<Self, Errno> {
        Ok(Self {
            shared: Mutex::new(Shared {
                state: State::new(),
                sleeping: 0,
                polling: false,
            }),
            changed: Condvar::new(),
            nudge: Eventfd::new()?,
        })
    }

    fn lock(&self) -> Guard<'_> {
        // Each update leaves the state whole, even if its thread should panic later.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the state.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock().state)
    }

    /// Changes the state and wakes all who wait.
    pub fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut shared = self.lock();
        let changed = change(&mut shared.state);
        self.wake(&shared);
        if shared.polling {
            // A counter that is full wakes as well.
            let _ = self.nudge.ring();
        }
        changed
    }

    /// Wakes those who sleep until the state changes.
    fn wake(&self, shared: &Shared) {
        // Without anybody it would still be a system call.
        if shared.sleeping > 0 {
            self.changed.notify_all();
        }
    }

    /// Takes what has rung one of our own doorbells up to now.
    pub fn take(&self, vector: usize) {
        let eventfd = self.look(|state| Some(state.own.get(vector)?.eventfd.clone()));
        let rings = eventfd.map_or(Ok(0), |eventfd| eventfd.take());
        if rings != Ok(0) {
            self.update(|state| state.count([(vector, rings)]));
        }
    }

    /// Blocks until `probe` finds something in what the server says, or the time is over. `probe` runs after each update,
    /// under the lock, so that no update falls between its look and the sleep.
    pub fn wait<T>(
        &self,
        timeout: Option<Duration>,
        mut probe: impl FnMut(&State) -> Option<T>,
    ) -> Option<T> {
        let deadline = Deadline::after(timeout);
        let mut shared = self.lock();
        loop {
            if let Some(found) = probe(&shared.state) {
                return Some(found);
            }
            shared = self.sleep(shared, deadline)?;
        }
    }

    /// As [`wait`](Self::wait), for what comes with a ring.
    ///
    /// # Errors
    ///
    /// Of `poll`: the limit of open files was lowered, or there is no memory.
    pub fn wait_rung<T>(
        &self,
        timeout: Option<Duration>,
        mut probe: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<Option<T>, Errno> {
        let deadline = Deadline::after(timeout);
        let mut shared = self.lock();
        loop {
            if let Some(found) = probe(&mut shared.state) {
                return Ok(Some(found));
            }
            if shared.polling {
                match self.sleep(shared, deadline) {
                    Some(woken) => shared = woken,
                    None => return Ok(None),
                }
                continue;
            }
            let woken;
            (shared, woken) = self.sleep_in_doorbells(shared, deadline)?;
            if !woken {
                return Ok(probe(&mut shared.state));
            }
        }
    }

    /// Sleeps until the state was changed; `None` if the time is over.
    fn sleep<'a>(&'a self, mut shared: Guard<'a>, deadline: Deadline) -> Option<Guard<'a>> {
        let left = deadline.left();
        if left == Some(Duration::ZERO) {
            return None;
        }
        shared.sleeping += 1;
        let mut shared = match left {
            None => {
                let woken = self.changed.wait(shared);
                woken.unwrap_or_else(PoisonError::into_inner)
            }
            Some(left) => {
                let woken = self.changed.wait_timeout(shared, left);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        shared.sleeping -= 1;
        Some(shared)
    }

    /// Sleeps until one of our doorbells was rung, or another thread nudges; returns whether that was so. No other thread
    /// polls them.
    fn sleep_in_doorbells<'a>(
        &'a self,
        mut shared: Guard<'a>,
        deadline: Deadline,
    ) -> Result<(Guard<'a>, bool), Errno> {
        let doorbells = Arc::clone(&shared.state.doorbells);
        shared.polling = true;
        drop(shared);
        let taken = poll_and_take(&doorbells, &self.nudge, deadline);
        let mut shared = self.lock();
        shared.polling = false;
        // They look at what changes now, and one of them polls if this thread does not again.
        self.wake(&shared);
        let taken = taken?;
        let woken = taken.is_some();
        shared.state.count(taken.unwrap_or_default());
        Ok((shared, woken))
    }
}

/// Sleeps until a doorbell or `nudge` was rung, and takes what was; `None` if the time is over.
fn poll_and_take(
    doorbells: &[Doorbell],
    nudge: &Eventfd,
    deadline: Deadline,
) -> Result<Option<Vec<Taken>>, Errno> {
    let all = doorbells.iter().map(|doorbell| &doorbell.eventfd);
    let mut fds: Vec<_> = std::iter::once(nudge)
        .chain(all)
        .map(|eventfd| PollFd::new(eventfd, PollFlags::IN))
        .collect();
    let left = deadline.left().map(timespec);
    match poll(&mut fds, left.as_ref()) {
        Ok(0) => return Ok(None),
        // As if nudged: signals do not end waits.
        Err(Errno::INTR) => return Ok(Some(Vec::new())),
        other => other?,
    };
    if !fds[0].revents().is_empty() {
        // It never fails: the eventfd is this process's own.
        nudge.take()?;
    }
    Ok(Some(take_ready(doorbells, &fds[1..])))
}

/// When a wait is over, if ever.
#[derive(Clone, Copy)]
struct Deadline(Option<Instant>);

impl Deadline {
    fn after(timeout: Option<Duration>) -> Self {
        Self(timeout.and_then(|limit| Instant::now().checked_add(limit)))
    }

    fn left(self) -> Option<Duration> {
        let left = |end: Instant| end.saturating_duration_since(Instant::now());
        self.0.map(left)
    }
}

/// As the kernel takes it; what is too long for it is for ever.
pub(crate) fn timespec(left: Duration) -> Timespec {
    Timespec::try_from(left).unwrap_or(Timespec {
        tv_sec: i64::MAX,
        tv_nsec: 0,
    })
}
