// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Who is there and what each has to be sent: all that a successor must know of a region.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use ivshmem_protocol::{JoinError, Membership, Outbox, Overflow, PeerId, Pending};
use serde::{Deserialize, Serialize};

/// Number of a connection. Never used twice, also by successors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ConnectionId(pub u64);

/// What the server wants to tell one connection.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Recipient {
    id: PeerId,
    /// It is no longer a member, and is closed as soon as its queue is empty.
    leaving: bool,
    outbox: Outbox,
}

/// Connections to which something may now have to be sent, or whose queue overflowed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    pub told: Vec<ConnectionId>,
    pub overflowed: Vec<ConnectionId>,
}

/// The members of a region, and connections that are only sent the rest of their handshake.
///
/// Knows nothing of descriptors. It changes by the methods that take `&mut self` alone, so the
/// same calls with the same arguments make the same roster.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Roster {
    membership: Membership,
    /// Which connection each member has.
    members: BTreeMap<PeerId, ConnectionId>,
    recipients: BTreeMap<ConnectionId, Recipient>,
    outbox_limit: usize,
}

impl Roster {
    pub(crate) fn new() -> Self {
        Self {
            membership: Membership::new(0),
            members: BTreeMap::new(),
            recipients: BTreeMap::new(),
            outbox_limit: 0,
        }
    }

    /// Sets how many clients there can be, with how many vectors at most.
    pub(crate) fn set_limits(&mut self, max_peers: usize, max_vectors: usize) {
        self.membership.set_limit(max_peers);
        // After a restart there may be more clients than there can be from now on.
        let places = max_peers.max(self.membership.places());
        self.outbox_limit = self.outbox_limit.max(Outbox::limit(places, max_vectors));
        for recipient in self.recipients.values_mut() {
            recipient.outbox.set_limit(self.outbox_limit);
        }
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    pub(crate) fn membership_mut(&mut self) -> &mut Membership {
        &mut self.membership
    }

    /// All connections, those that are no longer members included.
    pub(crate) fn connections(&self) -> impl Iterator<Item = ConnectionId> + '_ {
        self.recipients.keys().copied()
    }

    /// All members and their connections.
    pub(crate) fn members(&self) -> impl Iterator<Item = (PeerId, ConnectionId)> + '_ {
        self.members.iter().map(|(id, number)| (*id, *number))
    }

    /// The connection that has a fixed ID, or had it and is still being dropped.
    pub(crate) fn connection_of(&self, id: PeerId) -> Option<ConnectionId> {
        let leaving = || self.recipients.iter().find(|(_, r)| r.id == id);
        let member = self.members.get(&id).copied();
        member.or_else(|| leaving().map(|(number, _)| *number))
    }

    /// The ID that the next connection without a fixed one will get. One that is being dropped
    /// keeps its place until it is gone, or there could be any number of those.
    pub(crate) fn next_id(&self) -> Result<PeerId, JoinError> {
        let leaving = self.recipients.len() - self.members.len();
        if self.membership.places() + leaving >= self.membership.limit() {
            return Err(JoinError::Full(self.membership.limit()));
        }
        self.membership.next_id()
    }

    /// Checks that a connection can have a fixed ID.
    pub(crate) fn check_fixed(&self, id: PeerId) -> Result<(), JoinError> {
        self.membership.check_fixed(id)?;
        match self.connection_of(id) {
            Some(_) => Err(JoinError::Taken(id)),
            None => Ok(()),
        }
    }

    /// The ID that a connection has or had.
    pub(crate) fn id_of(&self, number: ConnectionId) -> Option<PeerId> {
        self.recipients.get(&number).map(|recipient| recipient.id)
    }

    pub(crate) fn is_leaving(&self, number: ConnectionId) -> bool {
        self.recipients.get(&number).is_some_and(|r| r.leaving)
    }

    /// Number of messages that wait for a connection.
    pub(crate) fn queued(&self, number: ConnectionId) -> usize {
        self.recipients.get(&number).map_or(0, |r| r.outbox.len())
    }

    /// What to send next to a connection.
    pub(crate) fn pending(&self, number: ConnectionId) -> Option<Pending> {
        self.recipients.get(&number)?.outbox.pending()
    }

    /// Lets a connection in, with a fixed ID or the next one.
    pub(crate) fn join(
        &mut self,
        number: ConnectionId,
        fixed: Option<PeerId>,
        vectors: NonZeroU16,
    ) -> Result<(PeerId, Touched), JoinError> {
        let joined = match fixed {
            Some(id) => self.membership.join_as(id, vectors),
            None => self.membership.join(vectors),
        }?;
        let recipient = Recipient {
            id: joined.id,
            leaving: false,
            outbox: Outbox::new(self.outbox_limit),
        };
        self.members.insert(joined.id, number);
        self.recipients.insert(number, recipient);
        let mut touched = Touched::default();
        self.tell(number, &mut touched, |o| o.extend(&joined.greeting));
        for peer in joined.audience {
            let number = self.members[&peer];
            self.tell(number, &mut touched, |o| o.extend(&joined.announcement));
        }
        Ok((joined.id, touched))
    }

    /// Ends the membership of a connection, but keeps it for what is left of its handshake.
    pub(crate) fn expel(&mut self, number: ConnectionId) -> Touched {
        let mut touched = self.leave(number);
        if let Some(recipient) = self.recipients.get_mut(&number) {
            recipient.leaving = true;
            recipient.outbox.keep_handshake();
            touched.told.push(number);
        }
        touched
    }

    /// Forgets a connection that is over.
    pub(crate) fn remove(&mut self, number: ConnectionId) -> Touched {
        let touched = self.leave(number);
        self.recipients.remove(&number);
        touched
    }

    /// Records that `bytes` bytes of the pending message have been sent.
    pub(crate) fn advance(&mut self, number: ConnectionId, bytes: usize) {
        if let Some(recipient) = self.recipients.get_mut(&number) {
            recipient.outbox.advance(bytes);
        }
    }

    fn leave(&mut self, number: ConnectionId) -> Touched {
        let mut touched = Touched::default();
        let member = self.recipients.get(&number).filter(|r| !r.leaving);
        let Some(id) = member.map(|recipient| recipient.id) else {
            return touched;
        };
        self.members.remove(&id);
        for peer in self.membership.leave(id).unwrap_or_default() {
            let number = self.members[&peer];
            self.tell(number, &mut touched, |outbox| outbox.peer_left(id));
        }
        touched
    }

    fn tell(
        &mut self,
        number: ConnectionId,
        touched: &mut Touched,
        what: impl FnOnce(&mut Outbox) -> Result<(), Overflow>,
    ) {
        if let Some(recipient) = self.recipients.get_mut(&number) {
            if what(&mut recipient.outbox).is_err() {
                touched.overflowed.push(number);
            }
            touched.told.push(number);
        }
    }
}
