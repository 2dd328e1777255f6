// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The server's report, as far as anything is made of it here.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How a server stands.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Report {
    /// Version of the server.
    pub version: String,
    /// Its process ID.
    pub pid: u32,
    /// Whether a service manager keeps all that a successor needs.
    pub successor: bool,
    /// Descriptors that it keeps.
    pub store: Option<u64>,
    /// How many it can keep.
    pub store_room: Option<u64>,
    /// Messages that can be in the socket of a client that does not read.
    pub in_flight: usize,
    /// Descriptors that the server can have open.
    pub open_files: Option<u64>,
    /// Its regions.
    pub regions: Vec<Region>,
}

/// How a region stands.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Region {
    /// Its name.
    pub name: String,
    /// Bytes of memory.
    pub size: u64,
    /// Where the memory comes from.
    pub memory: String,
    /// Vectors of each client.
    pub vectors: u16,
    /// Clients that there can be.
    pub max_peers: u32,
    /// Whether nobody else is let in.
    pub drained: bool,
    /// Clients to which sending fails for want of something.
    pub starved: usize,
    /// What happened.
    pub counters: Counters,
    /// The clients.
    pub peers: Vec<Peer>,
}

/// What happened since the server started.
#[derive(Debug, Deserialize)]
pub struct Counters {
    /// Clients that were let in.
    pub joined: u64,
    /// Clients that went.
    pub left: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// The same by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Clients that were dropped because they did what no client may.
    pub expelled: u64,
    /// Clients that were dropped because the operator wanted it.
    pub dismissed: u64,
}

/// How a client stands.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Peer {
    /// Its ID.
    pub id: u16,
    /// The region, or `REGION.PEER`, whose socket it connected to.
    pub socket: String,
    /// Its vectors.
    pub vectors: usize,
    /// Whether it may only read the memory.
    pub read_only: bool,
    /// Process that connected, if it is visible to the server.
    pub pid: Option<u32>,
    /// User of that process.
    pub uid: u32,
    /// Messages that it has not been sent yet.
    pub queued: usize,
}
