// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a server tells of itself.

use std::fmt;

use serde::Serialize;

use crate::counters::Counters;
use crate::region::Region;

/// How a server stands. As JSON, members may be added, but none are removed or change their
/// meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub struct Report {
    /// `ivshmem-server`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Version of the program.
    pub version: &'static str,
    /// Process ID of the server.
    pub pid: u32,
    /// Whether a service manager keeps all that a successor needs.
    pub successor: bool,
    /// Descriptors that the service manager keeps, none if it keeps nothing.
    pub store: Option<u64>,
    /// How many it can keep, as far as it has told.
    pub store_room: Option<u64>,
    /// Messages that can be in the socket of a client that has not read them.
    pub in_flight: usize,
    /// Descriptors that this process can have open, and, if it is not privileged, that can be in sockets of
    /// its user.
    pub open_files: Option<u64>,
    /// The regions, in the order of the configuration.
    pub regions: Vec<RegionReport>,
}

/// How a region stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub struct RegionReport {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Where its memory comes from, as on the command line.
    pub memory: String,
    /// Vectors of each client.
    pub vectors: u16,
    /// Clients that can be connected at the same time.
    pub max_peers: u32,
    /// What happened since the server started.
    pub counters: Counters,
    /// Whether nobody else is let in, as the operator wants.
    pub drained: bool,
    /// Clients to which sending fails at the moment, as the system lacks something.
    pub starved: usize,
    /// Clients that are connected, by ID.
    pub peers: Vec<PeerReport>,
}

/// How a client stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub struct PeerReport {
    /// Its ID.
    pub id: u16,
    /// Whether the ID is a fixed one.
    pub fixed: bool,
    /// The region, or `REGION.PEER`, whose socket it connected to.
    pub socket: String,
    /// Its vectors.
    pub vectors: usize,
    /// Whether it may only read the memory.
    pub read_only: bool,
    /// Process that connected; none if it is not visible from here.
    pub pid: Option<u32>,
    /// User of that process.
    pub uid: u32,
    /// First group of that process.
    pub gid: u32,
    /// Messages that wait for it to read. More than a few hint at a client that hangs.
    pub queued: usize,
}

impl RegionReport {
    pub(crate) fn new(region: &Region) -> Self {
        let config = &region.config;
        let peers = region.membership.members().filter_map(|(id, number)| {
            let client = region.clients.get(&number)?;
            Some(PeerReport {
                id: id.get(),
                fixed: region.membership.is_reserved(id),
                socket: client.door.clone(),
                vectors: region.doorbells.get(&id)?.len(),
                read_only: client.read_only,
                pid: client.credentials.pid,
                uid: client.credentials.uid,
                gid: client.credentials.gid,
                queued: region.membership.waiting(number),
            })
        });
        Self {
            name: config.name.clone(),
            size: config.size.bytes(),
            memory: config.memory.to_string(),
            vectors: config.vectors,
            max_peers: config.max_peers,
            counters: region.counters,
            drained: region.drained,
            starved: region.starved(),
            peers: peers.collect(),
        }
    }
}

impl fmt::Display for Report {
    /// A line for the server, one for each region, and one for each client.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let successor = if self.successor { "kept" } else { "not kept" };
        writeln!(
            f,
            "{} {}: pid {}, state for a successor {successor}, up to {} messages in flight to each",
            self.kind, self.version, self.pid, self.in_flight
        )?;
        for region in &self.regions {
            region.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for RegionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} bytes of {}, {} vectors, {} of {} peers; {} joined, {} left, {} refused, {} \
             expelled",
            self.name,
            self.size,
            self.memory,
            self.vectors,
            self.peers.len(),
            self.max_peers,
            self.counters.joined,
            self.counters.left,
            self.counters.refused,
            self.counters.expelled
        )?;
        if self.drained {
            writeln!(f, "  drained: nobody else is let in")?;
        }
        for peer in &self.peers {
            let fixed = if peer.fixed { " (fixed)" } else { "" };
            let rights = if peer.read_only { ", reads only" } else { "" };
            let pid = peer.pid.map_or("unknown".to_owned(), |pid| pid.to_string());
            writeln!(
                f,
                "  {}{fixed} by {}: {} vectors, pid {pid}, uid {}, gid {}, {} messages wait{rights}",
                peer.id, peer.socket, peer.vectors, peer.uid, peer.gid, peer.queued
            )?;
        }
        Ok(())
    }
}
