// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The server's side: who is there, by which ID, and what each must be told.

use alloc::collections::{BTreeMap, BTreeSet};
use core::num::NonZeroU16;

use crate::recipient::{Arrival, Events, Recipient};
use crate::{PeerId, ServerMessage, MAX_PEER_ID};

/// Number of IDs that there are.
const IDS: usize = MAX_PEER_ID as usize + 1;

/// Why a client cannot join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// As many clients as allowed are there. Room appears when one leaves.
    #[error("all {0} places are taken")]
    Full(usize),
    /// Every ID was given out once, and all that can be used again are in use. Cannot happen where
    /// the limit is at most half the number of IDs.
    #[error("all {IDS} IDs have been given out")]
    IdsExhausted,
    /// The fixed ID is in use. It is free when the client that has it leaves.
    #[error("the client that has the fixed ID {0} is still connected")]
    Taken(PeerId),
    /// The ID was not reserved, so it cannot be asked for.
    #[error("ID {0} is not a fixed one")]
    NotReserved(PeerId),
}

/// Why an ID cannot be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// A client without a fixed ID has or had it.
    #[error("ID {0} has been given to a client already")]
    Used(PeerId),
    /// There are no more places than fixed IDs.
    #[error("there are only {0} places")]
    Full(usize),
}

/// Number of a connection. The caller uses none of them twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct ConnectionId(pub u64);

/// One who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Member {
    connection: ConnectionId,
    /// When it came.
    arrival: u64,
}

/// The clients that share one region, the IDs that they have, and what each has been told.
///
/// A client that was told that an ID left must never hear of that ID again. There are two ways
/// to keep this rule, one for each kind of ID:
///
/// * IDs are given out in ascending order from 0 and never a second time. They stay dense that
///   way, too, which matters as QEMU keeps a table up to the highest ID that it has heard of.
/// * A lasting ID can be used by one client after another, but never leaves: nobody is told when
///   the client that has it goes, and its successor gets the same eventfds. So who heard of the
///   ID once, knows all there is to know, for ever, and is told nothing when it is used again.
///
/// The IDs that were [reserved](Self::reserve) are lasting ones. So become the last of the others,
/// as many as there can be clients: clients that come and go can use up the rest in seconds, and
/// must not keep everybody else from joining by that.
///
/// What a client must be told is never more than what there is to tell: when one leaves of whom it
/// has not heard, it does not hear of that one at all. So [`next_messages`](Self::next_messages) never
/// name an eventfd of one who left.
///
/// The same calls of methods that take `&mut self` with the same arguments make the same membership.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Membership {
    limit: usize,
    next: u32,
    members: BTreeMap<PeerId, Member>,
    /// IDs for those who ask for them.
    reserved: BTreeSet<PeerId>,
    /// IDs that are used again, with the number of vectors that those who know them know of.
    recycled: BTreeMap<PeerId, NonZeroU16>,
    events: Events,
    /// All connections: those of the members, and those that get the rest of their handshake.
    recipients: BTreeMap<ConnectionId, Recipient>,
}

impl Membership {
    /// No clients yet, and never more than `limit` at the same time.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            next: 0,
            members: BTreeMap::new(),
            reserved: BTreeSet::new(),
            recycled: BTreeMap::new(),
            events: Events::new(),
            recipients: BTreeMap::new(),
        }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether somebody has this ID now.
    pub fn contains(&self, id: PeerId) -> bool {
        self.members.contains_key(&id)
    }

    /// All members and their connections.
    pub fn members(&self) -> impl Iterator<Item = (PeerId, ConnectionId)> + '_ {
        let members = self.members.iter();
        members.map(|(id, member)| (*id, member.connection))
    }

    /// All connections, those that are no longer members included.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.recipients.keys().copied()
    }

    /// The connection that has an ID, or had it and is still being dropped.
    pub fn connection_of(&self, id: PeerId) -> Option<ConnectionId> {
        let leaving = || self.recipients.iter().find(|(_, r)| r.id == id);
        let member = self.members.get(&id).map(|member| member.connection);
        member.or_else(|| leaving().map(|(connection, _)| *connection))
    }

    /// The ID that a connection has or had.
    pub fn id_of(&self, connection: ConnectionId) -> Option<PeerId> {
        self.recipients.get(&connection).map(|found| found.id)
    }

    /// Whether a connection is no longer a member, and gets the rest of its handshake only.
    pub fn is_leaving(&self, connection: ConnectionId) -> bool {
        let found = self.recipients.get(&connection);
        found.is_some_and(|found| found.leaving)
    }

    /// Number of places that are taken: by connections, and by fixed IDs that no connection has now. One that is
    /// being dropped keeps its place until it is gone, or there could be any number of those.
    pub fn places(&self) -> usize {
        // No two connections have the same fixed ID.
        let others = self.recipients.values();
        let others = others.filter(|found| !self.is_reserved(found.id));
        self.reserved.len() + others.count()
    }

    /// Changes how many clients there can be at the same time. Those who are there stay.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Keeps an ID, and a place, for clients that ask for it.
    /// It stays reserved for ever. Does nothing if it was reserved before.
    ///
    /// # Errors
    ///
    /// The ID was given out, or no place is left to be kept.
    pub fn reserve(&mut self, id: PeerId) -> Result<(), ReserveError> {
        if self.is_reserved(id) {
            return Ok(());
        }
        if u32::from(id.get()) < self.next {
            return Err(ReserveError::Used(id));
        }
        if self.reserved.len() >= self.limit {
            return Err(ReserveError::Full(self.limit));
        }
        self.reserved.insert(id);
        Ok(())
    }

    /// Whether an ID is reserved.
    pub fn is_reserved(&self, id: PeerId) -> bool {
        self.reserved.contains(&id)
    }

    /// Whether an ID never leaves: its eventfds must stay for whoever has it next.
    pub fn is_lasting(&self, id: PeerId) -> bool {
        self.is_reserved(id) || self.recycled.contains_key(&id)
    }

    /// Whether the IDs have run out, so that clients get lasting ones.
    pub fn is_recycling(&self) -> bool {
        !self.recycled.is_empty()
    }

    /// The ID that a client will get, which asks for a reserved one, or not.
    ///
    /// # Errors
    ///
    /// There is no place or no ID left, or the ID is in use or not reserved.
    pub fn next_id(&self, reserved: Option<PeerId>) -> Result<PeerId, JoinError> {
        if let Some(id) = reserved {
            return match self.connection_of(id) {
                _ if !self.is_reserved(id) => Err(JoinError::NotReserved(id)),
                Some(_) => Err(JoinError::Taken(id)),
                None => Ok(id),
            };
        }
        if self.places() >= self.limit {
            return Err(JoinError::Full(self.limit));
        }
        let free = self.recycled.keys().find(|id| !self.contains(**id));
        let mut unused = (self.next..).map_while(|id| PeerId::from_wire(id.into()));
        free.copied()
            .or_else(|| unused.find(|id| !self.is_lasting(*id)))
            .ok_or(JoinError::IdsExhausted)
    }

    /// Number of IDs that nobody has had and nobody can ask for.
    fn unused(&self) -> usize {
        let reserved = |id: &&PeerId| u32::from(id.get()) >= self.next;
        IDS - self.next as usize - self.reserved.iter().filter(reserved).count()
    }

    /// Lets a client in, which has `vectors` vectors, or as many as the one that had a recycled ID
    /// before. Those of a reserved ID must be the same each time, for those who know it are not told of
    /// more. Returns its ID.
    ///
    /// # Errors
    ///
    /// As [`next_id`](Self::next_id). The client is to be sent [`ServerMessage::Refusal`].
    pub fn join(
        &mut self,
        connection: ConnectionId,
        reserved: Option<PeerId>,
        vectors: NonZeroU16,
    ) -> Result<PeerId, JoinError> {
        let id = self.next_id(reserved)?;
        if reserved.is_none() && !self.recycled.contains_key(&id) {
            if self.unused() <= self.limit.min(IDS / 2) {
                self.recycled.insert(id, vectors);
            }
            self.next = u32::from(id.get()) + 1;
        }
        let recipient = Recipient::new(id, &self.events);
        let arrival = self.events.arrive(Arrival {
            peer: id,
            vectors: self.recycled.get(&id).copied().unwrap_or(vectors),
            lasting: self.is_lasting(id),
        });
        let member = Member {
            connection,
            arrival,
        };
        self.members.insert(id, member);
        self.recipients.insert(connection, recipient);
        Ok(id)
    }

    /// Ends the membership of a connection, but keeps it until it has been sent its handshake, for it
    /// cannot be closed before. Returns whether it was a member.
    pub fn expel(&mut self, connection: ConnectionId) -> bool {
        let Some(recipient) = self.recipients.get_mut(&connection) else {
            return false;
        };
        if core::mem::replace(&mut recipient.leaving, true) {
            return false;
        }
        if let Some(member) = self.members.remove(&recipient.id) {
            self.events.leave(member.arrival);
        }
        if self.events.are_many() {
            let members = self.recipients.values().filter(|found| !found.leaving);
            let heard = members.map(Recipient::heard).min();
            self.events.forget(heard.unwrap_or(u64::MAX));
        }
        true
    }

    /// Forgets a connection that is over. Returns whether it was a member.
    pub fn remove(&mut self, connection: ConnectionId) -> bool {
        let was_member = self.expel(connection);
        self.recipients.remove(&connection);
        was_member
    }

    /// What to send next to a connection, in order, as far as there is anything, and at most this many
    /// messages.
    pub fn next_messages(
        &self,
        connection: ConnectionId,
        most: usize,
    ) -> impl Iterator<Item = ServerMessage> + '_ {
        let recipient = self.recipients.get(&connection).into_iter();
        let messages = recipient.flat_map(|found| found.messages(&self.events));
        messages.take(most)
    }

    /// Records that this many of the [next messages](Self::next_messages) have been sent to a
    /// connection. There are never more than wait.
    pub fn advance(&mut self, connection: ConnectionId, messages: usize) {
        if let Some(recipient) = self.recipients.get_mut(&connection) {
            let advance = || recipient.advance(&self.events);
            core::iter::from_fn(advance).take(messages).for_each(drop);
        }
    }

    /// Number of messages that wait for a connection.
    pub fn waiting(&self, connection: ConnectionId) -> usize {
        let recipient = self.recipients.get(&connection);
        recipient.map_or(0, |found| found.waiting(&self.events))
    }
}

#[cfg(test)]
mod tests;
