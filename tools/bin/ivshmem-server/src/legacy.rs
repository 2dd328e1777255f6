// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the server before this one left behind.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ivshmem_protocol::MESSAGE_LEN;
use tracing::info;

use crate::inheritance::Inheritance;
use crate::journal::{self, Record, RegionSnapshot, Snapshot};
use crate::names;
use crate::roster::{ConnectionId, Roster};
use crate::witness::Witness;
use crate::BindError;

/// What the server before this one left behind.
#[derive(Debug, Default)]
pub(crate) struct Legacy {
    /// Highest generation that was seen, 0 if there was none.
    pub generation: u64,
    /// Number that the next connection gets.
    pub next_connection: u64,
    pub regions: BTreeMap<String, RegionSnapshot<Roster>>,
    /// Sockets and doors of all connections.
    pub sockets: BTreeMap<ConnectionId, (String, OwnedFd)>,
}

impl Legacy {
    /// Reads the latest journal, and finds out what became of the message that was being sent.
    pub(crate) fn read(inheritance: &mut Inheritance) -> Result<Self, BindError> {
        let mut legacy = Self::default();
        let mut latest = 0;
        for name in inheritance.names() {
            if let Some((number, door)) = names::parse_connection(&name) {
                let socket = inheritance.take(&name);
                let entry = socket.map(|socket| (number, (door.to_owned(), socket)));
                legacy.sockets.extend(entry);
            }
            if let Some(generation) = names::parse_journal(&name) {
                latest = latest.max(generation);
            }
            // A server that was killed while it began a generation leaves a witness only. It
            // must not be taken for that of a generation to come.
            let witness = names::parse_witness(&name).unwrap_or(0);
            legacy.generation = legacy.generation.max(witness).max(latest);
        }
        if latest == 0 {
            if !legacy.sockets.is_empty() {
                return Err(refused("it kept connections, but no journal"));
            }
            return Ok(legacy);
        }
        let journal = inheritance.take(&names::journal(latest));
        let journal = journal.ok_or_else(|| refused("the journal is missing"))?;
        let witness = inheritance.take(&names::witness(latest));
        let (mut snapshot, records) = journal::read(journal.as_fd()).map_err(refused)?;
        let doubtful = replay(&mut snapshot, records).map_err(refused)?;
        legacy.next_connection = snapshot.next_connection;
        legacy.regions = snapshot.regions;
        if let Some(number) = doubtful {
            let witness = witness.ok_or_else(|| refused("the witness is missing"))?;
            legacy
                .settle(number, &journal, &Witness::adopt(witness))
                .map_err(refused)?;
        }
        Ok(legacy)
    }

    /// Finds out whether the last message was sent.
    fn settle(
        &mut self,
        number: ConnectionId,
        journal: &OwnedFd,
        witness: &Witness,
    ) -> io::Result<()> {
        let Some((_, socket)) = self.sockets.get(&number) else {
            // The client is gone, and its queue will be, too.
            return Ok(());
        };
        // The witness can be asked once only. Another successor, if this one is killed before it has
        // a journal of its own, must find the answer: nothing must come between the next two calls.
        let mut journal = journal::reopen(journal)?;
        if !witness.was_sent(socket.as_fd(), number)? {
            return Ok(());
        }
        // All of it, as so few are never sent in part.
        let bytes = MESSAGE_LEN;
        journal.append(&Record::Sent { number, bytes })?;
        for region in self.regions.values_mut() {
            region.roster.advance(number, bytes);
        }
        info!("the last message of the server before this one was sent");
        Ok(())
    }
}

/// Does all that the records say. Returns the connection to which a message may have been sent.
fn replay(
    snapshot: &mut Snapshot<Roster>,
    records: Vec<Record>,
) -> io::Result<Option<ConnectionId>> {
    let mut doubtful = None;
    for record in records {
        doubtful = None;
        match record {
            Record::Joined {
                number,
                region,
                fixed,
                vectors,
                doorbells,
            } => {
                let region = snapshot
                    .regions
                    .get_mut(&region)
                    .ok_or_else(|| io::Error::other(format!("region {region} is unknown")))?;
                let joined = region.roster.join(number, fixed, vectors);
                let (id, _) = joined.map_err(io::Error::other)?;
                region.doorbells.insert(id, doorbells);
                snapshot.next_connection = number.0 + 1;
            }
            Record::Expelled { number } => each(snapshot, |roster| drop(roster.expel(number))),
            Record::Removed { number } => each(snapshot, |roster| drop(roster.remove(number))),
            Record::Sent { number, bytes } => each(snapshot, |r| r.advance(number, bytes)),
            Record::Sending { number } => doubtful = Some(number),
        }
    }
    Ok(doubtful)
}

/// Does something in each region; only the one that has the connection takes notice.
fn each(snapshot: &mut Snapshot<Roster>, what: impl Fn(&mut Roster)) {
    for region in snapshot.regions.values_mut() {
        what(&mut region.roster);
    }
}

fn refused(why: impl ToString) -> BindError {
    BindError::Inheritance(why.to_string())
}
