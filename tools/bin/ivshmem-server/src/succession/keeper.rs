// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Has kept all that a successor needs if this server is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ivshmem_protocol::ConnectionId;
use rustix::io::Errno;
use tracing::error;

use crate::succession::journal::Journal;
use crate::succession::manager::ServiceManager;
use crate::succession::names::{Named, JOURNAL};
use crate::succession::page::Message;
use crate::succession::state::{Record, State};

/// Records that a successor reads in a moment.
const FEW: usize = 5_000;

/// A journal, by which messages are sent. If a service manager is to keep everything, also what it keeps.
#[derive(Debug)]
pub(crate) struct Keeper {
    journal: Journal,
    kept: Option<Kept>,
}

/// What a service manager keeps.
#[derive(Debug)]
struct Kept {
    manager: ServiceManager,
    /// How many descriptors it keeps by each name, and in all.
    counts: BTreeMap<String, u64>,
    total: u64,
}

impl Keeper {
    /// Sends messages; nothing is kept, and there will be no successor if this server is killed.
    pub(crate) fn new(journal: Journal) -> Self {
        Self {
            journal,
            kept: None,
        }
    }

    /// Begins to have everything kept for a successor, from this state on. These are the descriptors that
    /// the manager keeps already, by name.
    pub(crate) fn begin(
        &mut self,
        manager: ServiceManager,
        counts: BTreeMap<String, u64>,
        state: &State<'_>,
    ) -> io::Result<()> {
        self.journal.begin(state)?;
        let is_kept = counts.contains_key(JOURNAL);
        let mut kept = Kept {
            manager,
            total: counts.values().sum(),
            counts,
        };
        // First of all: a successor can do nothing without it, and this is never done again.
        if !is_kept {
            kept.keep(JOURNAL, &[self.journal.as_fd()])?;
        }
        self.kept = Some(kept);
        Ok(())
    }

    /// Whether a service manager keeps all that a successor needs.
    pub(crate) fn is_on(&self) -> bool {
        self.kept.is_some()
    }

    /// Descriptors that the service manager keeps and can keep, as far as it has told.
    pub(crate) fn store(&self) -> Option<(u64, Option<u64>)> {
        let kept = self.kept.as_ref()?;
        Some((kept.total, kept.manager.room()))
    }

    /// Whether as many descriptors more can be kept.
    pub(crate) fn has_room(&self, count: usize) -> bool {
        let Some((total, Some(room))) = self.store() else {
            return true;
        };
        total + count as u64 <= room
    }

    /// Has all of these descriptors kept, those that are not yet, and beside the journal nothing else.
    pub(crate) fn keep_only(&mut self, all: &[Named<'_>]) {
        self.attempt(|_, kept| {
            for (name, fds) in all {
                if !kept.counts.contains_key(name) {
                    kept.keep(name, fds)?;
                }
            }
            let needed: BTreeSet<_> = all.iter().map(|(name, _)| name.as_str()).collect();
            let mut rest: Vec<_> = kept.counts.keys().cloned().collect();
            rest.retain(|name| name != JOURNAL && !needed.contains(name.as_str()));
            Ok(rest.iter().try_for_each(|name| kept.drop_kept(name))?)
        });
    }

    /// Has descriptors kept for the successor.
    pub(crate) fn keep(&mut self, name: &str, fds: &[BorrowedFd<'_>]) {
        self.attempt(|_, kept| Ok(kept.keep(name, fds)?));
    }

    /// Has descriptors no longer kept.
    pub(crate) fn drop_kept(&mut self, name: &str) {
        self.attempt(|_, kept| Ok(kept.drop_kept(name)?));
    }

    /// Writes down what is about to happen.
    pub(crate) fn record(&mut self, record: impl FnOnce() -> Record) {
        self.attempt(|journal, _| journal.append(&record()));
    }

    /// Sends messages to one connection without blocking. Returns how many of them were sent.
    ///
    /// # Errors
    ///
    /// Of sending the first one.
    pub(crate) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        number: ConnectionId,
        messages: &[Message<'_>],
    ) -> Result<usize, Errno> {
        let sent = self.journal.send(socket, number, messages)?;
        let batch = self.journal.batch();
        self.record(|| Record::Sent {
            batch,
            number,
            messages: sent,
        });
        Ok(sent)
    }

    /// Number of the last batch of messages.
    pub(crate) fn batch(&self) -> u64 {
        self.journal.batch()
    }

    /// Whether the journal is so long that it should be [renewed](Self::renew), where so many are there.
    pub(crate) fn is_long(&self, connections: usize) -> bool {
        self.is_on() && self.journal.records() > FEW + connections
    }

    /// Begins the journal anew.
    pub(crate) fn renew(&mut self, state: &State<'_>) {
        self.attempt(|journal, _| journal.begin(state));
    }

    /// Does something if a successor is wanted. If it fails, that one would be told something wrong, so it
    /// had better be told nothing.
    fn attempt(&mut self, what: impl FnOnce(&mut Journal, &mut Kept) -> io::Result<()>) {
        let Some(kept) = &mut self.kept else {
            return;
        };
        if let Err(error) = what(&mut self.journal, kept) {
            error!("from now on, no successor can take over: {error}");
            kept.drop_all();
            self.kept = None;
        }
    }
}

impl Kept {
    fn keep(&mut self, name: &str, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let count = fds.len() as u64;
        *self.counts.entry(name.to_owned()).or_default() += count;
        self.total += count;
        self.manager.keep(name, fds)
    }

    fn drop_kept(&mut self, name: &str) -> Result<(), Errno> {
        self.total -= self.counts.remove(name).unwrap_or(0);
        self.manager.drop_kept(name)
    }

    /// Has nothing kept any more: the next server could not begin with it, and connections that this one closes would
    /// stay open.
    fn drop_all(&self) {
        // The journal first, as it may be wrong. If this fails, the manager is gone, and with it what it kept.
        let mut all = std::iter::once(JOURNAL).chain(self.counts.keys().map(String::as_str));
        let _ = all.try_for_each(|name| self.manager.drop_kept(name));
    }
}
