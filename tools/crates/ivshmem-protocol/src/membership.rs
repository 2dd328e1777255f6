// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The server's side: who must hear what when somebody joins or leaves.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::num::NonZeroU16;

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

/// What has to be sent because a client joined.
#[derive(Debug, PartialEq, Eq)]
pub struct Joined {
    /// ID of the new client.
    pub id: PeerId,
    /// Everything for the new client, in order: handshake, the others' vectors, its own.
    pub greeting: Vec<ServerMessage>,
    /// What each client of the audience is to be told, in order.
    pub announcement: Vec<ServerMessage>,
    /// All other clients that have not heard of this ID.
    pub audience: Vec<PeerId>,
}

/// The clients that share one region, and the IDs that they have.
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Membership {
    limit: usize,
    next: u32,
    vectors: BTreeMap<PeerId, NonZeroU16>,
    /// The lasting IDs, and which of the clients there are know each of them.
    lasting: BTreeMap<PeerId, BTreeSet<PeerId>>,
    /// Those of them that were not reserved, but are for whoever comes, with the number of vectors
    /// that those who know them know of.
    recycled: BTreeMap<PeerId, NonZeroU16>,
}

impl Membership {
    /// No clients yet, and never more than `limit` at the same time.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            next: 0,
            vectors: BTreeMap::new(),
            lasting: BTreeMap::new(),
            recycled: BTreeMap::new(),
        }
    }

    /// Number of clients that there can be at the same time.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Number of clients.
    pub fn len(&self) -> usize {
        self.vectors.len()
    }

    /// Whether there are no clients.
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    /// Whether somebody has this ID now.
    pub fn contains(&self, id: PeerId) -> bool {
        self.vectors.contains_key(&id)
    }

    /// Number of places that are taken: by clients, and by fixed IDs that nobody has now.
    pub fn places(&self) -> usize {
        let away = |id: &&PeerId| self.is_reserved(**id) && !self.contains(**id);
        self.vectors.len() + self.lasting.keys().filter(away).count()
    }

    /// Changes how many clients there can be at the same time. Those who are there stay.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Keeps an ID, and a place, for a client that asks for it by [`join_as`](Self::join_as).
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
        if self.lasting.len() - self.recycled.len() >= self.limit {
            return Err(ReserveError::Full(self.limit));
        }
        self.lasting.insert(id, BTreeSet::new());
        Ok(())
    }

    /// Whether an ID is reserved.
    pub fn is_reserved(&self, id: PeerId) -> bool {
        self.is_lasting(id) && !self.recycled.contains_key(&id)
    }

    /// Whether an ID never leaves: its eventfds must stay for whoever has it next.
    pub fn is_lasting(&self, id: PeerId) -> bool {
        self.lasting.contains_key(&id)
    }

    /// Whether the IDs have run out, so that clients get lasting ones.
    pub fn is_recycling(&self) -> bool {
        !self.recycled.is_empty()
    }

    /// The ID that the next client without a fixed ID will get.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn next_id(&self) -> Result<PeerId, JoinError> {
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
        IDS - self.next as usize - self.lasting.keys().filter(reserved).count()
    }

    /// Checks that a client can have a reserved ID.
    ///
    /// # Errors
    ///
    /// As [`join_as`](Self::join_as).
    pub fn check_fixed(&self, id: PeerId) -> Result<(), JoinError> {
        if !self.is_reserved(id) {
            return Err(JoinError::NotReserved(id));
        }
        if self.contains(id) {
            return Err(JoinError::Taken(id));
        }
        Ok(())
    }

    /// Lets a client in that has `vectors` vectors, or as many as the one that had its ID before.
    ///
    /// # Errors
    ///
    /// There is no place or no ID left. The client is to be sent [`ServerMessage::Refusal`].
    pub fn join(&mut self, vectors: NonZeroU16) -> Result<Joined, JoinError> {
        let id = self.next_id()?;
        if let Some(vectors) = self.recycled.get(&id) {
            return Ok(self.enter(id, *vectors));
        }
        if self.unused() <= self.limit.min(IDS / 2) {
            self.lasting.insert(id, BTreeSet::new());
            self.recycled.insert(id, vectors);
        }
        self.next = u32::from(id.get()) + 1;
        Ok(self.enter(id, vectors))
    }

    /// Lets a client in that has a reserved ID. `vectors` must be the same each time, for those
    /// who know the ID are not told of more.
    ///
    /// # Errors
    ///
    /// The ID is in use, or not reserved. The client is to be sent [`ServerMessage::Refusal`].
    pub fn join_as(&mut self, id: PeerId, vectors: NonZeroU16) -> Result<Joined, JoinError> {
        self.check_fixed(id)?;
        Ok(self.enter(id, vectors))
    }

    fn enter(&mut self, id: PeerId, vectors: NonZeroU16) -> Joined {
        let mut greeting = Vec::from([
            ServerMessage::Version,
            ServerMessage::OwnId(id),
            ServerMessage::SharedMemory,
        ]);
        for (&peer, &count) in &self.vectors {
            greeting.extend(all_vectors(peer, count));
            if let Some(knowing) = self.lasting.get_mut(&peer) {
                knowing.insert(id);
            }
        }
        let announcement: Vec<_> = all_vectors(id, vectors).collect();
        greeting.extend(&announcement);
        let mut audience: Vec<_> = self.vectors.keys().copied().collect();
        if let Some(knowing) = self.lasting.get_mut(&id) {
            audience.retain(|peer| knowing.insert(*peer));
        }
        self.vectors.insert(id, vectors);
        Joined {
            id,
            greeting,
            announcement,
            audience,
        }
    }

    /// Takes a client out. Returns those who must be told by
    /// [`Outbox::peer_left`](crate::Outbox::peer_left), nobody if the ID is a lasting one, or
    /// `None` if `id` is not a client.
    pub fn leave(&mut self, id: PeerId) -> Option<Vec<PeerId>> {
        self.vectors.remove(&id)?;
        for knowing in self.lasting.values_mut() {
            knowing.remove(&id);
        }
        if self.is_lasting(id) {
            return Some(Vec::new());
        }
        Some(self.vectors.keys().copied().collect())
    }
}

fn all_vectors(peer: PeerId, count: NonZeroU16) -> impl Iterator<Item = ServerMessage> {
    (0..count.get()).map(move |vector| ServerMessage::Vector { peer, vector })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const ONE: NonZeroU16 = NonZeroU16::MIN;
    const TWO: NonZeroU16 = ONE.saturating_add(1);

    fn vector(peer: u16, vector: u16) -> ServerMessage {
        let peer = peer.into();
        ServerMessage::Vector { peer, vector }
    }

    #[test]
    fn first_client_hears_only_of_itself() {
        let joined = Membership::new(4).join(TWO).unwrap();
        assert_eq!(joined.id, 0.into());
        assert_eq!(
            joined.greeting,
            [
                ServerMessage::Version,
                ServerMessage::OwnId(0.into()),
                ServerMessage::SharedMemory,
                vector(0, 0),
                vector(0, 1),
            ]
        );
        assert_eq!(joined.audience, []);
    }

    #[test]
    fn each_client_is_announced_with_its_own_number_of_vectors() {
        let mut membership = Membership::new(4);
        membership.join(ONE).unwrap();
        membership.join(TWO).unwrap();
        let joined = membership.join(ONE).unwrap();
        assert_eq!(
            joined.greeting[3..],
            [vector(0, 0), vector(1, 0), vector(1, 1), vector(2, 0)]
        );
        assert_eq!(joined.announcement, [vector(2, 0)]);
        assert_eq!(joined.audience, [0.into(), 1.into()]);
    }

    #[test]
    fn leaving_makes_room_but_frees_no_id() {
        let mut membership = Membership::new(2);
        membership.join(ONE).unwrap();
        membership.join(ONE).unwrap();
        assert_eq!(membership.join(ONE), Err(JoinError::Full(2)));
        assert_eq!(membership.leave(0.into()), Some(vec![1.into()]));
        assert_eq!(membership.leave(0.into()), None);
        assert_eq!(membership.len(), 1);
        assert_eq!(membership.join(ONE).unwrap().id, 2.into());
    }

    /// Has clients come and go until the IDs have run out.
    fn run_out(membership: &mut Membership, last: u16) {
        for id in 0..=last {
            assert!(!membership.is_recycling());
            assert_eq!(membership.join(ONE).unwrap().id, id.into());
            assert_eq!(membership.leave(id.into()), Some(vec![]));
        }
    }

    #[test]
    fn joins_do_not_end_with_the_ids() {
        const LAST: [u16; 2] = [MAX_PEER_ID - 1, MAX_PEER_ID];
        let mut membership = Membership::new(2);
        run_out(&mut membership, LAST[0] - 1);
        for _ in 0..3 {
            for id in LAST {
                assert_eq!(membership.join(ONE).unwrap().id, id.into());
            }
            assert!(membership.is_recycling());
            assert_eq!(membership.join(ONE), Err(JoinError::Full(2)));
            for id in LAST {
                assert_eq!(membership.leave(id.into()), Some(vec![]));
            }
        }
        assert_eq!(membership.places(), 0);
        let asked_for = membership.join_as(MAX_PEER_ID.into(), ONE);
        assert_eq!(asked_for, Err(JoinError::NotReserved(MAX_PEER_ID.into())));
        let reserved = membership.reserve(MAX_PEER_ID.into());
        assert_eq!(reserved, Err(ReserveError::Used(MAX_PEER_ID.into())));
    }

    #[test]
    fn recycled_id_keeps_its_vectors_and_is_announced_once() {
        const LAST: u16 = MAX_PEER_ID - 1;
        let mut membership = Membership::new(2);
        membership.reserve(MAX_PEER_ID.into()).unwrap();
        run_out(&mut membership, LAST - 2);
        // The first of the last two, and somebody who hears of the other.
        let witness = membership.join(ONE).unwrap().id;
        let first = membership.join_as(MAX_PEER_ID.into(), ONE).unwrap();
        assert_eq!(first.audience, [witness]);
        membership.leave(witness).unwrap();
        let again = membership.join(TWO).unwrap();
        assert_eq!(again.id, witness);
        assert_eq!(again.announcement, [vector(witness.get(), 0)]);
        assert_eq!(again.audience, []);
    }

    #[test]
    fn more_places_than_half_the_ids() {
        let mut membership = Membership::new(IDS);
        for id in 0..=MAX_PEER_ID {
            assert_eq!(membership.join(ONE).unwrap().id, id.into());
            if id > 0 {
                membership.leave(id.into()).unwrap();
            }
            if membership.is_recycling() {
                assert_eq!(usize::from(id), IDS / 2);
                return;
            }
        }
        panic!("it never begins");
    }

    #[test]
    fn reserved_id_comes_and_goes_unnoticed_by_those_who_know_it() {
        let mut membership = Membership::new(4);
        membership.reserve(1.into()).unwrap();
        membership.join(ONE).unwrap();
        assert_eq!(
            membership.join_as(1.into(), ONE).unwrap().audience,
            [0.into()]
        );
        assert_eq!(membership.leave(1.into()), Some(vec![]));
        // A client that comes while nobody has the ID knows nothing of it, and is told later.
        let joined = membership.join(ONE).unwrap();
        assert_eq!(joined.id, 2.into());
        assert_eq!(joined.greeting[3..], [vector(0, 0), vector(2, 0)]);
        let again = membership.join_as(1.into(), ONE).unwrap();
        assert_eq!(again.audience, [2.into()]);
        // The successor itself knows nothing of anybody.
        assert_eq!(
            again.greeting[3..],
            [vector(0, 0), vector(2, 0), vector(1, 0)]
        );
    }

    #[test]
    fn reserved_ids_are_for_those_who_ask_for_them() {
        let mut membership = Membership::new(2);
        membership.reserve(0.into()).unwrap();
        assert_eq!(membership.join(ONE).unwrap().id, 1.into());
        assert_eq!(membership.join(ONE), Err(JoinError::Full(2)));
        membership.join_as(0.into(), ONE).unwrap();
        let taken = membership.join_as(0.into(), ONE);
        assert_eq!(taken, Err(JoinError::Taken(0.into())));
        let other = membership.join_as(7.into(), ONE);
        assert_eq!(other, Err(JoinError::NotReserved(7.into())));
    }

    #[test]
    fn what_can_be_reserved() {
        let mut membership = Membership::new(2);
        membership.join(ONE).unwrap();
        let used = membership.reserve(0.into());
        assert_eq!(used, Err(ReserveError::Used(0.into())));
        membership.reserve(5.into()).unwrap();
        membership.reserve(5.into()).unwrap();
        membership.reserve(6.into()).unwrap();
        assert_eq!(membership.reserve(7.into()), Err(ReserveError::Full(2)));
    }
}
