// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a peer knows: the listener writes it, and whoever waits is woken.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::eventfd::Eventfd;

/// Who is connected to the same server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Members {
    /// Goes up with each change.
    pub version: u64,
    /// The others by ID, with the number of vectors that are known of each so far.
    pub peers: BTreeMap<u32, u32>,
}

/// How it stands with the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// Connected: members are up to date.
    Connected,
    /// Gone, for this reason. Memory and doorbells go on working, but nobody tells who comes and goes.
    Lost(String),
}

/// One of our own vectors.
#[derive(Debug)]
pub(crate) struct Own {
    pub eventfd: Eventfd,
    /// Rings since we joined, at least.
    pub rings: u64,
    /// How many of them a wait has taken.
    pub seen: u64,
    /// What is added to at each ring, if there are bells.
    pub bell: Option<Arc<OwnedFd>>,
}

impl Own {
    pub fn new(eventfd: Eventfd) -> Self {
        Self {
            eventfd,
            rings: 0,
            seen: 0,
            bell: None,
        }
    }

    /// Counts rings, and tells of them.
    pub fn rung(&mut self, count: u64) {
        self.rings = self.rings.wrapping_add(count);
        if let (Some(bell), 1..) = (&self.bell, count) {
            // Fails only if the counter is full, which has told.
            let _ = rustix::io::write(&**bell, &1u64.to_ne_bytes());
        }
    }
}

#[derive(Debug)]
pub(crate) struct State {
    pub own: Vec<Own>,
    pub others: BTreeMap<u32, Vec<Eventfd>>,
    /// Goes up with each change of `others`.
    pub version: u64,
    pub server: Server,
}

/// The state with its lock and its bell.
#[derive(Debug)]
pub(crate) struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

impl Board {
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State {
                own: Vec::new(),
                others: BTreeMap::new(),
                version: 0,
                server: Server::Connected,
            }),
            changed: Condvar::new(),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        // Each update leaves the state whole, even if its thread should panic later.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes all who wait.
    pub fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Blocks until `probe` finds something or the time is over. `probe` runs after each update, under the
    /// lock, so that no update falls between its look and the sleep.
    pub fn wait<T>(
        &self,
        timeout: Option<Duration>,
        mut probe: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let deadline = timeout.and_then(|limit| Instant::now().checked_add(limit));
        let mut state = self.lock();
        loop {
            if let Some(found) = probe(&mut state) {
                return Some(found);
            }
            state = match deadline {
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl State {
    pub fn members(&self) -> Members {
        let count = |fds: &Vec<Eventfd>| u32::try_from(fds.len()).unwrap_or(u32::MAX);
        Members {
            version: self.version,
            peers: self.others.iter().map(|(id, v)| (*id, count(v))).collect(),
        }
    }

    /// Takes the rings of the vectors of `mask`, 0 for all; returns which had any.
    pub fn take(&mut self, mask: u64) -> u64 {
        let mut pending = 0;
        for (vector, own) in self.own.iter_mut().enumerate() {
            // A mask has 64 bits, a peer can have more vectors: the last bit stands for all from there on.
            let bit = 1 << vector.min(63);
            if (mask == 0 || mask & bit != 0) && own.rings != own.seen {
                own.seen = own.rings;
                pending |= bit;
            }
        }
        pending
    }
}
