// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Keeps ready all that a successor needs if this server is killed.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use tracing::error;

use crate::journal::{Journal, Record, Snapshot};
use crate::names;
use crate::roster::{ConnectionId, Roster};
use crate::store::ServiceManager;
use crate::sys::{self, Unread};
use crate::witness::Witness;

/// Length in bytes from which on a journal is replaced by a new one.
const LONG: u64 = 4 << 20;

/// A journal and a witness, kept by the service manager together with all descriptors; or
/// nothing, if there is no need for a successor.
#[derive(Debug)]
pub(crate) struct Ledger(Option<Active>);

#[derive(Debug)]
struct Active {
    manager: ServiceManager,
    generation: u64,
    journal: Journal,
    /// Length of the journal when it was new.
    shortest: u64,
    witness: Witness,
    /// Clients that were seen to have read something.
    readers: BTreeSet<ConnectionId>,
}

/// When a message may be sent to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MaySend {
    Now,
    /// When the client is among the [readers](Ledger::take_readers).
    WhenRead,
    /// After a moment, of which nothing will tell.
    Soon,
}

impl Ledger {
    /// No ledger: this server has no successor if it is killed.
    pub(crate) fn off() -> Self {
        Self(None)
    }

    /// Begins to keep everything for a successor. `generation` must be higher than any before.
    pub(crate) fn begin<'fd>(
        manager: ServiceManager,
        generation: u64,
        snapshot: &Snapshot<&Roster>,
        clients: impl Iterator<Item = (ConnectionId, BorrowedFd<'fd>)>,
    ) -> io::Result<Self> {
        let (journal, witness) = start_generation(&manager, generation, snapshot, clients)?;
        Ok(Self(Some(Active {
            manager,
            generation,
            shortest: journal.len(),
            journal,
            witness,
            readers: BTreeSet::new(),
        })))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Readable when some client has read something.
    pub(crate) fn witness(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(|active| active.witness.as_fd())
    }

    /// Has descriptors kept for the successor.
    pub(crate) fn keep(&mut self, name: &str, fds: &[BorrowedFd<'_>]) {
        self.attempt(|active| Ok(active.manager.keep(name, fds)?));
    }

    /// Has descriptors no longer kept.
    pub(crate) fn drop_kept(&mut self, name: &str) {
        self.attempt(|active| Ok(active.manager.drop_kept(name)?));
    }

    /// Writes down what is about to happen, or has happened.
    pub(crate) fn record(&mut self, record: impl FnOnce() -> Record) {
        self.attempt(|active| active.journal.append(&record()));
    }

    /// Watches a client for reading.
    pub(crate) fn watch(&mut self, client: BorrowedFd<'_>, number: ConnectionId) {
        self.attempt(|active| Ok(active.witness.watch(client, number)?));
    }

    /// Whether a message may be sent to a client now, so that a successor can tell whether it
    /// was.
    pub(crate) fn may_send(&mut self, client: BorrowedFd<'_>, number: ConnectionId) -> MaySend {
        let may = self.attempt(|active| {
            match sys::unread(client)? {
                Unread::Something => return Ok(MaySend::WhenRead),
                Unread::Ending => return Ok(MaySend::Soon),
                Unread::Nothing => {}
            }
            // In this order: what the client reads after it was asked is noted anew.
            active.readers.extend(active.witness.take()?);
            active.journal.append(&Record::Sending { number })?;
            Ok(MaySend::Now)
        });
        may.unwrap_or(MaySend::Now)
    }

    /// The clients that have read something since they were asked for last.
    pub(crate) fn take_readers(&mut self) -> BTreeSet<ConnectionId> {
        let readers = self.0.as_mut().map(|active| &mut active.readers);
        readers.map(std::mem::take).unwrap_or_default()
    }

    /// Asks the witness, which had something to tell.
    pub(crate) fn ask_witness(&mut self) {
        self.attempt(|active| {
            active.readers.extend(active.witness.take()?);
            Ok(())
        });
    }

    /// Whether a new generation is due, lest the journal grow without end.
    pub(crate) fn is_long(&self) -> bool {
        let long = |active: &Active| active.journal.len() > LONG + 2 * active.shortest;
        self.0.as_ref().is_some_and(long)
    }

    /// Replaces journal and witness. The new witness has to be waited for.
    pub(crate) fn renew<'fd>(
        &mut self,
        snapshot: &Snapshot<&Roster>,
        clients: impl Iterator<Item = (ConnectionId, BorrowedFd<'fd>)>,
    ) {
        self.attempt(|active| {
            let generation = active.generation + 1;
            let (journal, witness) =
                start_generation(&active.manager, generation, snapshot, clients)?;
            drop_generation(&active.manager, active.generation)?;
            active.generation = generation;
            active.shortest = journal.len();
            active.journal = journal;
            active.witness = witness;
            Ok(())
        });
    }

    /// Does something if the ledger is on. If it fails, the successor would be told something
    /// wrong, so it had better be told nothing.
    fn attempt<T>(&mut self, what: impl FnOnce(&mut Active) -> io::Result<T>) -> Option<T> {
        let active = self.0.as_mut()?;
        match what(active) {
            Ok(value) => Some(value),
            Err(error) => {
                error!("from now on, no successor can take over: {error}");
                // If this fails, too, the manager is gone, and with it what it kept.
                let _ = drop_generation(&active.manager, active.generation);
                self.0 = None;
                None
            }
        }
    }
}

fn start_generation<'fd>(
    manager: &ServiceManager,
    generation: u64,
    snapshot: &Snapshot<&Roster>,
    clients: impl Iterator<Item = (ConnectionId, BorrowedFd<'fd>)>,
) -> io::Result<(Journal, Witness)> {
    let witness = Witness::new()?;
    for (number, client) in clients {
        witness.watch(client, number)?;
    }
    let journal = Journal::new(snapshot)?;
    // The journal last: with it, the generation is complete.
    manager.keep(&names::witness(generation), &[witness.as_fd()])?;
    manager.keep(&names::journal(generation), &[journal.as_fd()])?;
    Ok((journal, witness))
}

fn drop_generation(manager: &ServiceManager, generation: u64) -> io::Result<()> {
    manager.drop_kept(&names::journal(generation))?;
    Ok(manager.drop_kept(&names::witness(generation))?)
}
