// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a peer knows.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::PollFd;
use rustix::io::Errno;

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
    /// What is added to whenever rings were taken, if there are bells.
    pub taken: Option<Arc<OwnedFd>>,
    /// Whether the server sent something else than an eventfd, which is not heard any more.
    is_broken: bool,
}

impl Own {
    fn new(eventfd: Eventfd) -> Self {
        Self {
            eventfd,
            rings: 0,
            seen: 0,
            taken: None,
            is_broken: false,
        }
    }

    /// Counts rings, and tells those bells of them that have not heard the doorbell before it was taken from.
    fn rung(&mut self, count: u64) {
        self.rings = self.rings.wrapping_add(count);
        if let (Some(taken), 1..) = (&self.taken, count) {
            // Fails only if the counter is full, which has told.
            let _ = rustix::io::write(&**taken, &1u64.to_ne_bytes());
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
    /// The doorbells of `own`, for the thread that sleeps in them.
    pub doorbells: Arc<[Doorbell]>,
}

/// One of our own doorbells, and the vector that it is for.
#[derive(Clone, Debug)]
pub(crate) struct Doorbell {
    pub vector: usize,
    pub eventfd: Eventfd,
}

/// What was taken of a doorbell: how often it was rung, or that it is none that can be read.
pub(crate) type Taken = (usize, Result<u64, Errno>);

/// Takes the counters of the doorbells that `poll` found ready.
pub(crate) fn take_ready(doorbells: &[Doorbell], polled: &[PollFd<'_>]) -> Vec<Taken> {
    let ready = doorbells.iter().zip(polled);
    let ready = ready.filter(|(_, fd)| !fd.revents().is_empty());
    ready
        .map(|(doorbell, _)| (doorbell.vector, doorbell.eventfd.take()))
        .collect()
}

impl State {
    pub fn new() -> Self {
        Self {
            own: Vec::new(),
            others: BTreeMap::new(),
            version: 0,
            server: Server::Connected,
            doorbells: Arc::default(),
        }
    }

    /// One more vector of our own.
    pub fn add_own(&mut self, eventfd: Eventfd) {
        self.own.push(Own::new(eventfd));
        self.doorbells = self.doorbells().into();
    }

    fn doorbells(&self) -> Vec<Doorbell> {
        let all = self.own.iter().enumerate();
        let sound = all.filter(|(_, own)| !own.is_broken);
        sound
            .map(|(vector, own)| Doorbell {
                vector,
                eventfd: own.eventfd.clone(),
            })
            .collect()
    }

    /// Counts what was taken.
    pub fn count(&mut self, taken: impl IntoIterator<Item = Taken>) {
        for (vector, rings) in taken {
            match rings {
                Ok(rings) => self.own[vector].rung(rings),
                // It would be ready for ever, and keep us busy.
                Err(_) => {
                    self.own[vector].is_broken = true;
                    self.doorbells = self.doorbells().into();
                }
            }
        }
    }

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
