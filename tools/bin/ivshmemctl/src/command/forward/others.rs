// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The other endpoints, and what is open with each of them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::address::Peer;
use super::connection::Connection;
use super::flow::Over;
use super::frame::{Body, Key};
use super::lane::{Attendance, Correspondent, Lane};
use crate::mesh::Neighbour;

/// The most connections with one other endpoint.
const MOST_CONNECTIONS: usize = 1024;
/// The most places at which is listened for one other endpoint.
const MOST_LISTENERS: usize = 64;
/// Names that are looked up for one other endpoint at a time. Each takes a thread, also when the connection is over meanwhile.
const MOST_LOOKUPS: usize = 4;
/// The most answers that wait until one other endpoint takes them: those to what is refused, mostly. To whatever one may ask
/// for at a time that keeps to the rules there is one.
const MOST_ANSWERS: usize = MOST_CONNECTIONS + MOST_LISTENERS;

/// All that are there.
pub struct Others {
    /// Our incarnation.
    own: u32,
    lanes: HashMap<u32, Rc<Lane>>,
    /// By slot, whoever is there.
    lookups: HashMap<u32, Arc<Semaphore>>,
    by_slot: RefCell<HashMap<u32, Other>>,
    /// Of each slot the incarnation that was there last, and the number of the connection that was opened with it last.
    before: RefCell<HashMap<u32, (u32, u32)>>,
}

/// How somebody has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// For the first time.
    First,
    /// After it was taken for gone, which it may not know.
    Again,
}

struct Other {
    neighbour: Neighbour,
    correspondent: Correspondent,
    /// What waits to be told to it ends with this.
    _attendance: Attendance,
    connections: HashMap<Key, Rc<Connection>>,
    /// The number of the connection that was opened here last.
    last: u32,
    /// What listens here for it, by its number.
    listening: HashMap<u32, AbortHandle>,
    /// Each answer that waits has one of these.
    turn: Rc<()>,
}

impl Others {
    /// Nobody yet. These are the ways to them.
    pub fn new(own: u32, lanes: HashMap<u32, Rc<Lane>>) -> Self {
        let lookups = lanes.keys().map(|slot| {
            let turns = Semaphore::new(MOST_LOOKUPS);
            (*slot, Arc::new(turns))
        });
        Self {
            own,
            lookups: lookups.collect(),
            lanes,
            by_slot: RefCell::default(),
            before: RefCell::default(),
        }
    }

    /// Somebody has come. `None` if there is no way to that one.
    pub fn come(&self, neighbour: Neighbour) -> Option<Arrival> {
        let lane = self.lanes.get(&neighbour.slot)?;
        let before = self.before.borrow().get(&neighbour.slot).copied();
        // Of one that comes again, what is said of connections from before is still on its way.
        let last = before
            .and_then(|(incarnation, last)| (incarnation == neighbour.incarnation).then_some(last));
        let (correspondent, attendance) =
            Correspondent::new(lane.clone(), neighbour.incarnation, self.own);
        let other = Other {
            correspondent,
            _attendance: attendance,
            neighbour,
            connections: HashMap::new(),
            last: last.unwrap_or(0),
            listening: HashMap::new(),
            turn: Rc::new(()),
        };
        self.by_slot
            .borrow_mut()
            .insert(other.neighbour.slot, other);
        Some(match last {
            Some(_) => Arrival::Again,
            None => Arrival::First,
        })
    }

    /// Whoever was in a slot has left: ends all that is open. False if nobody was known there.
    pub fn leave(&self, slot: u32) -> bool {
        let Some(other) = self.by_slot.borrow_mut().remove(&slot) else {
            return false;
        };
        other.end_all(&Over::Gone);
        let known = (other.neighbour.incarnation, other.last);
        self.before.borrow_mut().insert(slot, known);
        true
    }

    /// The one in a slot had taken us for gone: ends all that is open.
    pub fn reset(&self, slot: u32) {
        let mut others = self.by_slot.borrow_mut();
        if let Some(other) = others.get_mut(&slot) {
            other.end_all(&Over::Forgotten);
            other.listening.clear();
        }
    }

    /// Whether this one is in a slot.
    pub fn is_known(&self, slot: u32, incarnation: u32) -> bool {
        let is = |other: &Other| other.neighbour.incarnation == incarnation;
        self.by_slot.borrow().get(&slot).is_some_and(is)
    }

    /// Whether the one in a slot is this one.
    pub fn is(&self, slot: u32, peer: &Peer) -> bool {
        let is = |other: &Other| peer.is(other.neighbour.peer_id, &other.neighbour.notice);
        self.by_slot.borrow().get(&slot).is_some_and(is)
    }

    /// The first slot in which this one is.
    pub fn find(&self, peer: &Peer) -> Option<u32> {
        let slots: Vec<_> = self.by_slot.borrow().keys().copied().collect();
        slots.into_iter().filter(|slot| self.is(*slot, peer)).min()
    }

    /// How to reach the one in a slot.
    pub fn correspondent(&self, slot: u32) -> Option<Correspondent> {
        let others = self.by_slot.borrow();
        Some(others.get(&slot)?.correspondent.clone())
    }

    /// Turns to look up a name for the one in a slot.
    pub fn lookups(&self, slot: u32) -> Option<Arc<Semaphore>> {
        self.lookups.get(&slot).cloned()
    }

    /// How to answer the one in a slot, and what is to be kept meanwhile; `None` if too many answers wait.
    pub fn answer(&self, slot: u32) -> Option<(Correspondent, Rc<()>)> {
        let others = self.by_slot.borrow();
        let other = others.get(&slot)?;
        (Rc::strong_count(&other.turn) <= MOST_ANSWERS)
            .then(|| (other.correspondent.clone(), other.turn.clone()))
    }

    /// A number for a connection that is opened here.
    pub fn next(&self, slot: u32) -> Key {
        let mut others = self.by_slot.borrow_mut();
        let number = others.get_mut(&slot).map_or(0, |other| {
            other.last = other.last.wrapping_add(1);
            other.last
        });
        Key { ours: true, number }
    }

    /// Begins a connection; an error in words if there are too many, or it is there.
    pub fn open(&self, slot: u32, key: Key) -> Result<Rc<Connection>, &'static str> {
        let mut others = self.by_slot.borrow_mut();
        let other = others.get_mut(&slot).ok_or("nobody is there")?;
        if other.connections.len() >= MOST_CONNECTIONS {
            return Err("there are too many connections with this endpoint");
        }
        if other.connections.contains_key(&key) {
            return Err("there is a connection of this number");
        }
        let connection = Rc::new(Connection::default());
        other.connections.insert(key, connection.clone());
        Ok(connection)
    }

    /// Passes a message to its connection. Where there is none the other endpoint does not know yet that it is over.
    pub fn hear(&self, slot: u32, key: Key, body: Body<'_>) {
        let others = self.by_slot.borrow();
        let connection = others.get(&slot).and_then(|o| o.connections.get(&key));
        if let Some(connection) = connection {
            connection.hear(body);
        }
    }

    /// A connection with this one has ended.
    pub fn close(&self, slot: u32, incarnation: u32, key: Key) {
        if self.is_known(slot, incarnation) {
            let mut others = self.by_slot.borrow_mut();
            others.get_mut(&slot).map(|o| o.connections.remove(&key));
        }
    }

    /// Whether it may be listened once more for the one in a slot. What was asked for before by this number ends.
    pub fn may_listen(&self, slot: u32, number: u32) -> bool {
        let mut others = self.by_slot.borrow_mut();
        others.get_mut(&slot).is_some_and(|other| {
            if let Some(before) = other.listening.remove(&number) {
                before.abort();
            }
            other.listening.retain(|_, task| !task.is_finished());
            other.listening.len() < MOST_LISTENERS
        })
    }

    /// It is listened for the one in a slot.
    pub fn listen(&self, slot: u32, number: u32, task: AbortHandle) {
        let mut others = self.by_slot.borrow_mut();
        if let Some(other) = others.get_mut(&slot) {
            other.listening.insert(number, task);
        }
    }
}

impl Other {
    fn end_all(&self, over: &Over) {
        let open = self.connections.values();
        open.for_each(|connection| connection.end(over.clone()));
        self.listening.values().for_each(AbortHandle::abort);
    }
}
