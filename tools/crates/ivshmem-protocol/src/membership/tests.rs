// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! IDs, and who is told what.

use alloc::vec;
use alloc::vec::Vec;

use super::*;

const ONE: NonZeroU16 = NonZeroU16::MIN;
const TWO: NonZeroU16 = ONE.saturating_add(1);
const THREE: NonZeroU16 = ONE.saturating_add(2);
const ALL: usize = usize::MAX;

/// A membership in which connections are numbered as they come.
struct Stage {
    membership: Membership,
    connections: u64,
}

impl Stage {
    fn new(limit: usize) -> Self {
        Self {
            membership: Membership::new(limit),
            connections: 0,
        }
    }

    fn join(&mut self, vectors: NonZeroU16) -> Result<u16, JoinError> {
        self.join_as(None, vectors)
    }

    fn join_as(&mut self, id: Option<u16>, vectors: NonZeroU16) -> Result<u16, JoinError> {
        self.connections += 1;
        let number = ConnectionId(self.connections);
        let id = id.map(PeerId::from);
        self.membership.join(number, id, vectors).map(PeerId::get)
    }

    fn connection(&self, id: u16) -> ConnectionId {
        self.membership.connection_of(id.into()).unwrap()
    }

    fn leave(&mut self, id: u16) {
        assert!(self.membership.remove(self.connection(id)));
    }

    /// Sends up to this many messages to whoever has this ID.
    fn send(&mut self, id: u16, most: usize) -> Vec<ServerMessage> {
        let connection = self.connection(id);
        let sent: Vec<_> = self.membership.next_messages(connection, most).collect();
        let waiting = self.membership.waiting(connection);
        self.membership.advance(connection, sent.len());
        assert_eq!(self.membership.waiting(connection), waiting - sent.len());
        sent
    }

    /// Has clients come and go until the IDs have run out.
    fn run_out(&mut self, last: u16) {
        for id in 0..=last {
            assert!(!self.membership.is_recycling());
            assert_eq!(self.join(ONE), Ok(id));
            self.leave(id);
        }
    }
}

fn handshake(id: u16) -> [ServerMessage; 3] {
    let id = ServerMessage::OwnId(id.into());
    [ServerMessage::Version, id, ServerMessage::SharedMemory]
}

fn vector(peer: u16, vector: u16) -> ServerMessage {
    let peer = peer.into();
    ServerMessage::Vector { peer, vector }
}

fn left(peer: u16) -> ServerMessage {
    ServerMessage::Left(peer.into())
}

#[test]
fn others_come_first_then_the_client_itself() {
    let mut stage = Stage::new(4);
    assert_eq!(stage.join(TWO), Ok(0));
    let own = [vector(0, 0), vector(0, 1)];
    assert_eq!(stage.send(0, ALL), [&handshake(0)[..], &own].concat());
    assert_eq!(stage.join(ONE), Ok(1));
    let all = [&handshake(1)[..], &own, &[vector(1, 0)]].concat();
    assert_eq!(stage.send(1, ALL), all);
    assert_eq!(stage.send(0, ALL), [vector(1, 0)]);
    assert_eq!(stage.send(0, ALL), []);
}

#[test]
fn who_comes_later_comes_later() {
    let mut stage = Stage::new(4);
    (0..3).for_each(|id| assert_eq!(stage.join(ONE), Ok(id)));
    let all = [vector(0, 0), vector(1, 0), vector(2, 0)];
    for id in 0..3 {
        assert_eq!(stage.send(id, ALL), [&handshake(id)[..], &all].concat());
    }
}

#[test]
fn peer_that_was_not_announced_is_forgotten() {
    let mut stage = Stage::new(4);
    (0..3).for_each(|id| assert_eq!(stage.join(TWO), Ok(id)));
    stage.leave(1);
    let rest = stage.send(0, ALL);
    assert_eq!(rest[5..], [vector(2, 0), vector(2, 1)]);
}

#[test]
fn peer_that_was_announced_leaves_before_others_come() {
    for announced in [1, 2, 3] {
        let mut stage = Stage::new(4);
        stage.join(ONE).unwrap();
        stage.send(0, ALL);
        stage.join(THREE).unwrap();
        stage.send(0, announced);
        stage.join(ONE).unwrap();
        stage.leave(1);
        assert_eq!(stage.send(0, ALL), [left(1), vector(2, 0)], "{announced}");
    }
}

#[test]
fn departures_are_not_kept_longer_than_needed() {
    let mut stage = Stage::new(4);
    stage.join(ONE).unwrap();
    for id in 1..1000 {
        stage.join(ONE).unwrap();
        stage.send(0, ALL);
        stage.leave(id);
        assert_eq!(stage.send(0, ALL), [left(id)]);
    }
    assert!(!stage.membership.events.are_many());
    // One who has not read hears of nobody whom it never knew.
    stage.join(ONE).unwrap();
    for _ in 0..1000 {
        let id = stage.join(ONE).unwrap();
        stage.send(0, ALL);
        stage.leave(id);
    }
    let known = [vector(0, 0), vector(1000, 0)];
    assert_eq!(stage.send(1000, ALL)[3..], known);
}

#[test]
fn expelled_one_gets_the_rest_of_its_handshake() {
    let mut stage = Stage::new(2);
    stage.join(ONE).unwrap();
    stage.join(ONE).unwrap();
    stage.send(0, ALL);
    stage.send(1, 1);
    let connection = stage.connection(1);
    assert!(stage.membership.expel(connection));
    assert!(!stage.membership.expel(connection));
    assert!(!stage.membership.contains(1.into()));
    assert_eq!(stage.send(0, ALL), [left(1)]);
    // It keeps its place until it is gone.
    assert_eq!(stage.join(ONE), Err(JoinError::Full(2)));
    assert_eq!(stage.send(1, ALL), handshake(1)[1..]);
    assert!(!stage.membership.remove(connection));
    assert_eq!(stage.join(ONE), Ok(2));
}

/// The one that is being dropped has the place that is kept for its ID.
#[test]
fn fixed_one_that_is_expelled_has_one_place() {
    let mut stage = Stage::new(2);
    stage.membership.reserve(0.into()).unwrap();
    assert_eq!(stage.membership.places(), 1);
    stage.join_as(Some(0), ONE).unwrap();
    assert_eq!(stage.membership.places(), 1);
    let connection = stage.connection(0);
    assert!(stage.membership.expel(connection));
    assert_eq!(stage.membership.places(), 1);
    assert_eq!(stage.join(ONE), Ok(1));
    assert_eq!(stage.join(ONE), Err(JoinError::Full(2)));
    stage.membership.remove(connection);
    assert_eq!(stage.membership.places(), 2);
    stage.join_as(Some(0), ONE).unwrap();
    assert_eq!(stage.membership.places(), 2);
}

#[test]
fn leaving_makes_room_but_frees_no_id() {
    let mut stage = Stage::new(2);
    stage.join(ONE).unwrap();
    stage.join(ONE).unwrap();
    assert_eq!(stage.join(ONE), Err(JoinError::Full(2)));
    stage.leave(0);
    assert_eq!(stage.membership.len(), 1);
    assert_eq!(stage.join(ONE), Ok(2));
}

#[test]
fn joins_do_not_end_with_the_ids() {
    const LAST: [u16; 2] = [MAX_PEER_ID - 1, MAX_PEER_ID];
    let mut stage = Stage::new(2);
    stage.run_out(LAST[0] - 1);
    for _ in 0..3 {
        LAST.iter()
            .for_each(|id| assert_eq!(stage.join(ONE), Ok(*id)));
        assert!(stage.membership.is_recycling());
        assert_eq!(stage.join(ONE), Err(JoinError::Full(2)));
        LAST.iter().for_each(|id| stage.leave(*id));
    }
    assert_eq!(stage.membership.places(), 0);
    let asked_for = stage.join_as(Some(MAX_PEER_ID), ONE);
    assert_eq!(asked_for, Err(JoinError::NotReserved(MAX_PEER_ID.into())));
    let reserved = stage.membership.reserve(MAX_PEER_ID.into());
    assert_eq!(reserved, Err(ReserveError::Used(MAX_PEER_ID.into())));
}

#[test]
fn recycled_id_keeps_its_vectors_and_is_announced_once() {
    const LAST: u16 = MAX_PEER_ID - 1;
    let mut stage = Stage::new(2);
    stage.membership.reserve(MAX_PEER_ID.into()).unwrap();
    stage.run_out(LAST - 2);
    // The first of the last two, and somebody who hears of it.
    let first = stage.join(ONE).unwrap();
    stage.join_as(Some(MAX_PEER_ID), ONE).unwrap();
    stage.send(MAX_PEER_ID, ALL);
    stage.leave(first);
    assert_eq!(stage.join(TWO), Ok(first));
    assert_eq!(stage.send(MAX_PEER_ID, ALL), []);
    let own = stage.send(first, ALL);
    assert_eq!(own[3..], [vector(MAX_PEER_ID, 0), vector(first, 0)]);
}

#[test]
fn more_places_than_half_the_ids() {
    let mut stage = Stage::new(IDS);
    for id in 0..=MAX_PEER_ID {
        assert_eq!(stage.join(ONE), Ok(id));
        if id > 0 {
            stage.leave(id);
        }
        if stage.membership.is_recycling() {
            assert_eq!(usize::from(id), IDS / 2);
            return;
        }
    }
    panic!("it never begins");
}

#[test]
fn reserved_id_comes_and_goes_unnoticed_by_those_who_know_it() {
    let mut stage = Stage::new(4);
    stage.membership.reserve(1.into()).unwrap();
    stage.join(ONE).unwrap();
    stage.join_as(Some(1), TWO).unwrap();
    // It goes when half of it is known, of which nothing is said.
    assert_eq!(stage.send(0, 5)[3..], [vector(0, 0), vector(1, 0)]);
    stage.leave(1);
    assert_eq!(stage.send(0, ALL), []);
    // A client that comes while nobody has the ID knows nothing of it, and is told later.
    assert_eq!(stage.join(ONE), Ok(2));
    assert_eq!(stage.send(2, ALL)[3..], [vector(0, 0), vector(2, 0)]);
    stage.join_as(Some(1), TWO).unwrap();
    assert_eq!(stage.send(0, ALL), [vector(2, 0), vector(1, 1)]);
    let both = [vector(1, 0), vector(1, 1)];
    assert_eq!(stage.send(2, ALL), both);
    // The successor itself knows nothing of anybody.
    let all = [&[vector(0, 0), vector(2, 0)][..], &both].concat();
    assert_eq!(stage.send(1, ALL)[3..], all);
}

#[test]
fn reserved_ids_are_for_those_who_ask_for_them() {
    let mut stage = Stage::new(2);
    stage.membership.reserve(0.into()).unwrap();
    assert_eq!(stage.join(ONE), Ok(1));
    assert_eq!(stage.join(ONE), Err(JoinError::Full(2)));
    stage.join_as(Some(0), ONE).unwrap();
    let taken = stage.join_as(Some(0), ONE);
    assert_eq!(taken, Err(JoinError::Taken(0.into())));
    let other = stage.join_as(Some(7), ONE);
    assert_eq!(other, Err(JoinError::NotReserved(7.into())));
    let members: Vec<_> = stage.membership.members().map(|(id, _)| id.get()).collect();
    assert_eq!(members, vec![0, 1]);
}

#[test]
fn what_can_be_reserved() {
    let mut stage = Stage::new(2);
    stage.join(ONE).unwrap();
    let membership = &mut stage.membership;
    assert_eq!(
        membership.reserve(0.into()),
        Err(ReserveError::Used(0.into()))
    );
    membership.reserve(5.into()).unwrap();
    membership.reserve(5.into()).unwrap();
    membership.reserve(6.into()).unwrap();
    assert_eq!(membership.reserve(7.into()), Err(ReserveError::Full(2)));
}
