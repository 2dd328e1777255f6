// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What one client has been told, and so what it is to be told next.
//!
//! Clients are told of the same events, so there is one list of those, and no queue for each client: a
//! [`Recipient`] is a position in the list. A client that does not read costs as much as one that does.

use alloc::collections::{BTreeMap, VecDeque};
use core::num::NonZeroU16;

use crate::{PeerId, ServerMessage, HANDSHAKE_MESSAGES};

/// Number of departures from which on it is looked whether some are known to all.
const SOME: usize = 64;

/// Somebody came, and is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Arrival {
    pub peer: PeerId,
    pub vectors: NonZeroU16,
    /// Whether the ID is a lasting one: who knows it is not told that it left, or came back.
    pub lasting: bool,
}

/// Somebody left, whose ID nobody gets again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Departure {
    time: u64,
    peer: PeerId,
    /// When it had come.
    arrival: u64,
}

/// Who came and left, as far as somebody may have to be told. Each event has a time of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Events {
    now: u64,
    arrivals: BTreeMap<u64, Arrival>,
    /// In the order of their times.
    departures: VecDeque<Departure>,
    /// Number of departures at which they are looked through next.
    many: usize,
}

impl Events {
    pub(crate) const fn new() -> Self {
        Self {
            now: 0,
            arrivals: BTreeMap::new(),
            departures: VecDeque::new(),
            many: SOME,
        }
    }

    /// Records that somebody came. Returns when.
    pub(crate) fn arrive(&mut self, arrival: Arrival) -> u64 {
        let time = self.tick();
        self.arrivals.insert(time, arrival);
        time
    }

    /// Records that somebody left who had come at this time.
    pub(crate) fn leave(&mut self, arrival: u64) {
        let Some(gone) = self.arrivals.remove(&arrival) else {
            return;
        };
        if !gone.lasting {
            let (time, peer) = (self.tick(), gone.peer);
            self.departures.push_back(Departure {
                time,
                peer,
                arrival,
            });
        }
    }

    /// Whether it is time to [`forget`](Self::forget) something.
    pub(crate) fn are_many(&self) -> bool {
        self.departures.len() >= self.many
    }

    /// Forgets the departures of which all have heard, which are those before `heard`.
    pub(crate) fn forget(&mut self, heard: u64) {
        let known = self.departures.partition_point(|gone| gone.time < heard);
        self.departures.drain(..known);
        self.many = SOME + 2 * self.departures.len();
    }

    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn departures_from(&self, time: u64) -> impl Iterator<Item = &Departure> {
        let first = self.departures.partition_point(|gone| gone.time < time);
        self.departures.range(first..)
    }
}

/// What one client has been told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Recipient {
    pub id: PeerId,
    /// It is no longer a member, and is told the rest of the handshake only.
    pub leaving: bool,
    /// Messages of the handshake that it was sent.
    handshake: u8,
    /// It knows of all who came before this time, unless they had left meanwhile.
    told: u64,
    /// Vectors that it knows of the one who came at that time.
    vectors: u16,
    /// It knows of all who left before this time.
    heard: u64,
    /// Vectors that it knows of each lasting ID.
    lasting: BTreeMap<PeerId, u16>,
}

impl Recipient {
    /// A client that has been told nothing.
    pub(crate) fn new(id: PeerId, events: &Events) -> Self {
        Self {
            id,
            leaving: false,
            handshake: 0,
            told: 0,
            vectors: 0,
            // It will know nobody who left before.
            heard: events.now + 1,
            lasting: BTreeMap::new(),
        }
    }

    pub(crate) fn heard(&self) -> u64 {
        self.heard
    }

    /// Goes on by one message, which is returned; `None` if it has been told all.
    pub(crate) fn advance(&mut self, events: &Events) -> Option<ServerMessage> {
        let lasting = core::mem::take(&mut self.lasting);
        let message = self.step(events, &lasting);
        self.lasting = lasting;
        if let Some(ServerMessage::Vector { peer, .. }) = message {
            let arrival = events.arrivals.get(&self.told);
            if arrival.is_some_and(|arrival| arrival.lasting) {
                self.lasting.insert(peer, self.vectors);
            }
        }
        message
    }

    /// What [`advance`](Self::advance) would return again and again.
    pub(crate) fn messages<'a>(
        &'a self,
        events: &'a Events,
    ) -> impl Iterator<Item = ServerMessage> + 'a {
        // A position for itself: there can be as many lasting IDs as clients.
        let mut position = Self {
            lasting: BTreeMap::new(),
            ..*self
        };
        core::iter::from_fn(move || position.step(events, &self.lasting))
    }

    /// Goes on by one message, but for what is known of lasting IDs, of which no two arrivals are there at a time. Departures
    /// come before arrivals, so that who is told of a departure can be seen from how far it has been told of arrivals.
    fn step(&mut self, events: &Events, lasting: &BTreeMap<PeerId, u16>) -> Option<ServerMessage> {
        let handshake = [
            ServerMessage::Version,
            ServerMessage::OwnId(self.id),
            ServerMessage::SharedMemory,
        ];
        if let Some(message) = handshake.get(usize::from(self.handshake)) {
            self.handshake += 1;
            return Some(*message);
        }
        if self.leaving {
            return None;
        }
        self.next_departure(events)
            .or_else(|| self.next_vector(events, lasting))
    }

    fn next_departure(&mut self, events: &Events) -> Option<ServerMessage> {
        let mut departures = events.departures_from(self.heard);
        let gone = departures.find(|gone| self.knows(gone));
        self.heard = gone.map_or(events.now, |gone| gone.time) + 1;
        gone.map(|gone| ServerMessage::Left(gone.peer))
    }

    fn next_vector(
        &mut self,
        events: &Events,
        lasting: &BTreeMap<PeerId, u16>,
    ) -> Option<ServerMessage> {
        let mut arrivals = events.arrivals.range(self.told..);
        let next = arrivals.find_map(|(time, arrival)| {
            let known = self.known_vectors(*time, arrival, lasting);
            (known < arrival.vectors.get()).then_some((*time, arrival, known))
        });
        let Some((time, arrival, vector)) = next else {
            (self.told, self.vectors) = (events.now + 1, 0);
            return None;
        };
        (self.told, self.vectors) = (time, vector + 1);
        Some(ServerMessage::Vector {
            peer: arrival.peer,
            vector,
        })
    }

    /// Number of messages that it has not been sent.
    pub(crate) fn waiting(&self, events: &Events) -> usize {
        let handshake = HANDSHAKE_MESSAGES.saturating_sub(usize::from(self.handshake));
        if self.leaving {
            return handshake;
        }
        let gone = events.departures_from(self.heard);
        let gone = gone.filter(|gone| self.knows(gone)).count();
        let arrivals = events.arrivals.range(self.told..);
        let vectors = arrivals.map(|(time, arrival)| {
            let known = self.known_vectors(*time, arrival, &self.lasting);
            usize::from(arrival.vectors.get().saturating_sub(known))
        });
        handshake + gone + vectors.sum::<usize>()
    }

    /// Whether it was told anything of one who left, when that had not left.
    fn knows(&self, gone: &Departure) -> bool {
        gone.arrival < self.told || (gone.arrival == self.told && self.vectors > 0)
    }

    fn known_vectors(&self, time: u64, arrival: &Arrival, lasting: &BTreeMap<PeerId, u16>) -> u16 {
        if time == self.told && self.vectors > 0 {
            self.vectors
        } else if arrival.lasting {
            lasting.get(&arrival.peer).copied().unwrap_or(0)
        } else {
            0
        }
    }
}
