// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a server counts.

use serde::Serialize;

/// What happened since the server started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub struct Counters {
    /// Clients that were let in.
    pub joined: u64,
    /// Clients that went, for whatever reason.
    pub left: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// The same by reason.
    pub refusals: Refusals,
    /// Clients that were dropped because they did what no client may.
    pub expelled: u64,
    /// Clients that were dropped because the operator wanted it.
    pub dismissed: u64,
}

/// How many connections were refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub struct Refusals {
    /// The operator lets nobody in.
    pub drained: u64,
    /// The user is not on the access lists.
    pub access: u64,
    /// All places, or the one of the fixed ID, are taken, or there are no IDs left.
    pub places: u64,
    /// The user has all clients that it can have.
    pub user_places: u64,
    /// The user has had too many clients join.
    pub join_rate: u64,
    /// The service manager can keep no more descriptors.
    pub store: u64,
    /// A client has changed the size of the memory.
    pub memory: u64,
    /// The system lacks something, such as descriptors.
    pub system: u64,
}

impl Counters {
    /// Counts a connection that was refused, by the reason too.
    pub(crate) fn refuse(&mut self, reason: impl FnOnce(&mut Refusals) -> &mut u64) {
        self.refused += 1;
        *reason(&mut self.refusals) += 1;
    }
}
