// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What is told of the work: as it happens, and when it is asked for.

use std::cell::{Cell, RefCell};

use serde_json::{json, Value};

use super::address::{quoted, Forward};
use crate::mesh::Neighbour;
use crate::news::News;
use crate::output::{printable, Output, GOOD, WARNING};

/// Where something listens.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    /// At this endpoint.
    Here,
    /// At the other one.
    There,
}

/// What is told, and where.
pub struct Report {
    news: News,
    ends: RefCell<Vec<Neighbour>>,
    /// Connections now, and since the start.
    open: Cell<u64>,
    opened: Cell<u64>,
    /// Those of them that were broken.
    broken: Cell<u64>,
    /// Connections that came to nothing before they were among these.
    refused: Cell<u64>,
    /// Messages that were none.
    invalid: Cell<u64>,
    /// The failure that was told last.
    told: RefCell<String>,
}

impl Report {
    /// Nothing yet.
    pub fn new(output: Output) -> Self {
        Self {
            news: News::new(output),
            ends: RefCell::default(),
            open: Cell::default(),
            opened: Cell::default(),
            broken: Cell::default(),
            refused: Cell::default(),
            invalid: Cell::default(),
            told: RefCell::default(),
        }
    }

    /// An endpoint has come.
    pub fn here(&self, end: &Neighbour) {
        let value = json!({ "event": "here", "peer_id": end.peer_id, "name": name(end) });
        self.news
            .tell(&value, &format!("{} is here", described(end)), GOOD);
    }

    /// An endpoint has left.
    pub fn left(&self, end: &Neighbour) {
        let value = json!({ "event": "left", "peer_id": end.peer_id, "name": name(end) });
        let text = format!("{} has left, or is silent", described(end));
        self.news.tell(&value, &text, WARNING);
    }

    /// It is listened for this, here or at the other endpoint.
    pub fn listening(&self, forward: &Forward, side: Side) {
        let Forward {
            listen,
            peer,
            target,
        } = forward;
        let value = json!({
            "event": "listening",
            "side": match side {
                Side::Here => "here",
                Side::There => "there",
            },
            "listen": listen.to_string(),
            "peer": peer.to_string(),
            "target": target.to_string(),
        });
        let text = match side {
            Side::Here => format!("{listen} leads to {target} at {}", peer.described()),
            Side::There => format!("{listen} at {} leads to {target}", peer.described()),
        };
        self.news.tell(&value, &text, GOOD);
    }

    /// A connection, or listening, has failed, here or at the other endpoint.
    pub fn fail(&self, reason: &str) {
        let reason = printable(reason.as_bytes());
        if *self.told.borrow() != reason {
            let value = json!({ "event": "failed", "reason": reason });
            self.news.tell(&value, &reason, WARNING);
            *self.told.borrow_mut() = reason;
        }
    }

    /// A connection has failed that was not counted.
    pub fn refuse(&self, reason: &str) {
        self.refused.set(self.refused.get() + 1);
        self.fail(reason);
    }

    /// A message was none.
    pub fn count_invalid(&self) {
        self.invalid.set(self.invalid.get() + 1);
    }

    /// A connection begins; it ends when what this returns is dropped.
    pub fn count(&self) -> Counted<'_> {
        self.opened.set(self.opened.get() + 1);
        self.open.set(self.open.get() + 1);
        Counted(self)
    }

    /// These endpoints are there.
    pub fn set_ends(&self, ends: Vec<Neighbour>) {
        *self.ends.borrow_mut() = ends;
    }

    /// Who is there, and how many connections there are and were.
    pub fn status(&self) -> (Value, String) {
        let ends = self.ends.borrow();
        let list = ends
            .iter()
            .map(|end| json!({ "peer_id": end.peer_id, "name": name(end) }));
        let (open, opened) = (self.open.get(), self.opened.get());
        let failed = self.broken.get() + self.refused.get();
        let invalid = self.invalid.get();
        let value = json!({
            "event": "status",
            "endpoints": list.collect::<Vec<_>>(),
            "connections": { "open": open, "opened": opened, "failed": failed },
            "invalid": invalid,
        });
        let made = opened - self.broken.get();
        let mut text = String::new();
        for end in ends.iter() {
            text += &format!("{}\n", described(end));
        }
        text += &format!("connections: {made} made, {failed} failed, {open} open\n");
        if invalid > 0 {
            text += &format!("invalid messages: {invalid}\n");
        }
        (value, text)
    }
}

/// A connection that is counted as open.
pub struct Counted<'a>(&'a Report);

impl Counted<'_> {
    /// The connection is broken for this reason.
    pub fn fail(self, reason: &str) {
        let report = self.0;
        drop(self);
        report.broken.set(report.broken.get() + 1);
        report.fail(reason);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

fn name(end: &Neighbour) -> Option<String> {
    (!end.notice.is_empty()).then(|| printable(&end.notice))
}

/// An endpoint as people are told of it.
pub fn described(end: &Neighbour) -> String {
    match name(end) {
        Some(name) => format!("{} (peer {})", quoted(&name), end.peer_id),
        None => format!("peer {}", end.peer_id),
    }
}
