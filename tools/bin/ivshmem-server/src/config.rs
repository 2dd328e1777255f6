// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a server is told to do.

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use rustix::process::{getrlimit, Resource};

use crate::bounds::{self, CLIENT_OWN_DESCRIPTORS, MAX_VECTORS};
use crate::error::BindError;
use crate::in_flight::InFlight;
use crate::succession::names;
use crate::{Access, HugePages, MemorySource, RegionSize};

/// Vectors that each client has unless told otherwise.
pub const DEFAULT_VECTORS: u16 = 8;

/// Clients that can be connected at the same time unless told otherwise.
pub const DEFAULT_MAX_PEERS: u32 = 64;

/// Open files that every client can have unless told otherwise, which is the usual soft limit.
pub const DEFAULT_CLIENT_DESCRIPTORS: u32 = 1024;

/// Joins of one user in a minute, in the long run, unless told otherwise.
pub const DEFAULT_JOIN_RATE: u32 = 60;

/// Name of a region unless told otherwise.
pub const DEFAULT_REGION: &str = "ivshmem";

/// Descriptors that a server needs beside those for its regions: standard streams, epoll,
/// sockets for status and hand-over with their locks and connections, triggers, notices and
/// journal, one in reserve, and some for the log.
const OWN_DESCRIPTORS: u64 = 40;

/// Descriptors of a region beside those of its clients: memory twice, listener and lock.
const REGION_DESCRIPTORS: u64 = 4;

/// What of a region, and of a server with one, is kept beside what is of its clients: memory, listener and lock; journal,
/// and sockets for status, commands and hand-over with their locks.
const STORED_OF_REGION: u64 = 10;

/// What a server is told to do.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// Memories and those who share them. At least one; their names differ.
    pub regions: Vec<RegionConfig>,
    /// Where the [`Report`](crate::Report) can be read, as one JSON document for each
    /// connection. For the same user only.
    pub status_socket: Option<PathBuf>,
    /// Where an operator can give commands: the same user, or root.
    pub control_socket: Option<PathBuf>,
    /// Where a successor can take over, which is a process of the same user.
    pub hand_over: Option<PathBuf>,
}

/// One memory and those who share it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegionConfig {
    /// Name in logs, reports and names of descriptors: letters, digits, `-` and `_`.
    pub name: String,
    /// Where clients without a fixed ID connect to. The directory must exist, and the server
    /// must be allowed to create files in it. Beside the socket there will be a lock file, with
    /// `.lock` appended. `None` if there are none, or a listening socket is passed in.
    pub socket_path: Option<PathBuf>,
    /// Who can connect.
    pub access: Access,
    /// Size of the memory.
    pub size: RegionSize,
    /// Where the memory comes from.
    pub memory: MemorySource,
    /// Size of the pages of a memfd, if not the usual one. Implies `prealloc`.
    pub huge_pages: Option<HugePages>,
    /// Allocate all of the memory at the start.
    pub prealloc: bool,
    /// NUMA node of the memory's pages, if not where each is used first.
    pub numa_node: Option<u32>,
    /// Do not remove the file of the memory at the end, and use one that is there already if
    /// its size is right.
    pub keep_memory: bool,
    /// Vectors of each client, 1 to [`MAX_VECTORS`]; not less than the `vectors=` of any QEMU.
    pub vectors: u16,
    /// Clients that can be connected at the same time, 1 to 65536. Each with a fixed ID has its
    /// place kept among them.
    pub max_peers: u32,
    /// Clients of one user that can be connected at the same time, if not as many.
    pub max_peers_per_user: Option<u32>,
    /// Joins of one user in a minute, in the long run; 0 for no limit. Each takes one of 65536 IDs, and all
    /// other clients are told.
    pub join_rate: u32,
    /// Open files that every client can have, `RLIMIT_NOFILE`. A QEMU that cannot have the eventfds of all
    /// others is killed by its own mistake, so there must not be more of them.
    pub client_descriptors: u32,
    /// Clients that have an ID, and a socket, of their own.
    pub peers: Vec<PeerConfig>,
}

/// A client that has the same ID each time it connects, which it does to a socket of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerConfig {
    /// Name in logs, reports and names of descriptors: letters, digits, `-` and `_`.
    pub name: String,
    /// Its ID. QEMU keeps a table up to the highest one, so better keep it low.
    pub id: u16,
    /// Where it connects to; `None` if a listening socket is passed in.
    pub socket_path: Option<PathBuf>,
    /// Its vectors, if not as many as the region says.
    pub vectors: Option<u16>,
    /// Whether it gets the memory without the right to write to it. QEMU cannot use that, other
    /// programs can.
    pub read_only: bool,
}

impl Config {
    /// A server for these regions.
    pub fn new(regions: Vec<RegionConfig>) -> Self {
        Self {
            regions,
            ..Self::default()
        }
    }

    /// Number of file descriptors that the server needs when all clients are there. With fewer
    /// it refuses clients before [`RegionConfig::max_peers`] is reached, and does no other harm.
    ///
    /// The same limit, `RLIMIT_NOFILE`, also applies to the descriptors that the processes of
    /// one user have sent and nobody has received yet, unless the user is privileged.
    pub fn descriptors(&self) -> u64 {
        OWN_DESCRIPTORS
            + self
                .regions
                .iter()
                .map(RegionConfig::descriptors)
                .sum::<u64>()
    }

    /// Number of descriptors that a service manager keeps when all clients are there, as the help of `--fd-store`
    /// says it. With room for fewer the server refuses clients before [`RegionConfig::max_peers`] is reached.
    pub fn stored_descriptors(&self) -> u64 {
        let regions = self.regions.iter();
        regions.map(RegionConfig::stored_descriptors).sum()
    }

    /// Number of descriptors that clients which do not read can have sent to them at the same time: three quarters
    /// of the open files that this process can have, or more if there are so many clients that the least that the
    /// kernel lets each have is more.
    pub fn descriptors_in_flight(&self) -> u64 {
        self.in_flight().most(self.places())
    }

    /// What can be in the sockets of clients.
    pub(crate) fn in_flight(&self) -> InFlight {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        InFlight::new(limit, self.places())
    }

    fn places(&self) -> u64 {
        self.regions
            .iter()
            .map(|region| u64::from(region.max_peers))
            .sum()
    }

    pub(crate) fn check(&self) -> Result<(), BindError> {
        if self.regions.is_empty() {
            return Err(BindError::NoRegion);
        }
        let mut names = BTreeSet::new();
        for region in &self.regions {
            if !names.insert(&region.name) {
                return Err(BindError::SameName(region.name.clone()));
            }
            region.check()?;
        }
        Ok(())
    }
}

impl From<RegionConfig> for Config {
    fn from(region: RegionConfig) -> Self {
        Self::new(vec![region])
    }
}

impl RegionConfig {
    /// Possible values of [`RegionConfig::vectors`].
    pub const VECTORS: RangeInclusive<u16> = bounds::VECTORS;

    /// Possible values of [`RegionConfig::max_peers`].
    pub const MAX_PEERS: RangeInclusive<u32> = bounds::MAX_PEERS;

    /// A region on this socket, and defaults for the rest.
    pub fn new(socket_path: impl Into<PathBuf>) -> Self {
        Self {
            socket_path: Some(socket_path.into()),
            ..Self::without_socket(DEFAULT_REGION)
        }
    }

    /// A region of this name whose sockets are passed in or those of its peers.
    pub fn without_socket(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            socket_path: None,
            access: Access::default(),
            size: RegionSize::DEFAULT,
            memory: MemorySource::Memfd,
            huge_pages: None,
            prealloc: false,
            numa_node: None,
            keep_memory: false,
            vectors: DEFAULT_VECTORS,
            max_peers: DEFAULT_MAX_PEERS,
            max_peers_per_user: None,
            join_rate: DEFAULT_JOIN_RATE,
            client_descriptors: DEFAULT_CLIENT_DESCRIPTORS,
            peers: Vec::new(),
        }
    }

    /// Clients that there can be unless told otherwise: [`DEFAULT_MAX_PEERS`], or fewer where each has so many
    /// vectors that others could not have them all.
    pub fn usual_max_peers(&self) -> u32 {
        let (fixed, theirs) = self.fixed();
        let rest = self.room_in_client().saturating_sub(theirs) / u32::from(self.vectors.max(1));
        let most = fixed.saturating_add(rest).min(DEFAULT_MAX_PEERS);
        most.max(fixed).max(1)
    }

    /// Number of peers with a fixed ID, and of the vectors that they have together.
    fn fixed(&self) -> (u32, u32) {
        let vectors = self.peers.iter().map(|peer| {
            let own = peer.vectors.unwrap_or(self.vectors);
            u32::from(own)
        });
        (self.peers.len() as u32, vectors.sum())
    }

    /// Number of vectors that all clients have together.
    fn all_vectors(&self) -> u32 {
        let (fixed, theirs) = self.fixed();
        let rest = self.max_peers.saturating_sub(fixed) * u32::from(self.vectors);
        theirs.saturating_add(rest)
    }

    /// Eventfds that each client can have.
    fn room_in_client(&self) -> u32 {
        self.client_descriptors
            .saturating_sub(CLIENT_OWN_DESCRIPTORS)
    }

    fn descriptors(&self) -> u64 {
        let clients = u64::from(self.max_peers) * (u64::from(self.vectors) + 1);
        // Listener and lock, and vectors beyond those that all have.
        let fixed = 2 * self.peers.len() as u64 + self.more_vectors();
        REGION_DESCRIPTORS + clients + fixed
    }

    fn stored_descriptors(&self) -> u64 {
        let clients = u64::from(self.max_peers) * (u64::from(self.vectors) + 2);
        let fixed = self.peers.len() as u64 + self.more_vectors();
        STORED_OF_REGION + clients + fixed
    }

    /// Number of vectors that clients with a fixed ID have beyond those that all have.
    fn more_vectors(&self) -> u64 {
        let more = |own: u16| u64::from(own.saturating_sub(self.vectors));
        let own = self.peers.iter().filter_map(|peer| peer.vectors);
        own.map(more).sum()
    }

    /// The number of vectors as checked by [`check`](Self::check).
    pub(crate) fn checked_vectors(&self) -> Result<NonZeroU16, BindError> {
        checked_vectors(self.vectors)
    }

    fn check(&self) -> Result<(), BindError> {
        check_name(&self.name)?;
        if names::is_reserved(&self.name) {
            return Err(BindError::ReservedName(self.name.clone()));
        }
        self.checked_vectors()?;
        if !Self::MAX_PEERS.contains(&self.max_peers) {
            return Err(BindError::MaxPeers(self.max_peers));
        }
        let (total, room) = (self.all_vectors(), self.room_in_client());
        if self.max_peers > 1 && total > room {
            return Err(BindError::ClientDescriptors {
                max_peers: self.max_peers,
                total,
                limit: self.client_descriptors,
                room,
            });
        }
        let mut names = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for peer in &self.peers {
            check_name(&peer.name)?;
            peer.checked_vectors(self)?;
            if !names.insert(&peer.name) {
                return Err(BindError::SameName(peer.name.clone()));
            }
            if !ids.insert(peer.id) {
                return Err(BindError::SameId(peer.id));
            }
        }
        if self.peers.len() > self.max_peers as usize {
            return Err(BindError::TooManyFixed(self.peers.len(), self.max_peers));
        }
        Ok(())
    }
}

impl PeerConfig {
    /// A client of this name and ID that connects to this socket, and defaults for the rest.
    pub fn new(name: impl Into<String>, id: u16, socket_path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            id,
            socket_path: Some(socket_path.into()),
            vectors: None,
            read_only: false,
        }
    }

    pub(crate) fn checked_vectors(&self, region: &RegionConfig) -> Result<NonZeroU16, BindError> {
        checked_vectors(self.vectors.unwrap_or(region.vectors))
    }
}

fn checked_vectors(vectors: u16) -> Result<NonZeroU16, BindError> {
    NonZeroU16::new(vectors)
        .filter(|vectors| vectors.get() <= MAX_VECTORS)
        .ok_or(BindError::Vectors(vectors))
}

/// Names become parts of the names of descriptors, which have no room for other characters.
fn check_name(name: &str) -> Result<(), BindError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
        return Err(BindError::Name(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_together() {
        let region = |change: fn(&mut RegionConfig)| {
            let mut region = RegionConfig::new("socket");
            change(&mut region);
            Config::from(region).check()
        };
        assert!(matches!(
            region(|r| r.name = "a.b".into()),
            Err(BindError::Name(_))
        ));
        let twice = |r: &mut RegionConfig| {
            r.peers = vec![PeerConfig::new("a", 1, "a"), PeerConfig::new("b", 1, "b")];
        };
        assert!(matches!(region(twice), Err(BindError::SameId(1))));
        let too_many = |r: &mut RegionConfig| {
            r.max_peers = 1;
            r.peers = vec![PeerConfig::new("a", 1, "a"), PeerConfig::new("b", 2, "b")];
        };
        assert!(matches!(
            region(too_many),
            Err(BindError::TooManyFixed(2, 1))
        ));
        let many = |r: &mut RegionConfig| r.vectors = 16;
        assert!(matches!(
            region(many),
            Err(BindError::ClientDescriptors { room: 900, .. })
        ));
        let allowed = |r: &mut RegionConfig| (r.vectors, r.client_descriptors) = (16, 1148);
        assert!(region(allowed).is_ok());
        let fixed = |r: &mut RegionConfig| {
            let peers = [1, 2, 3].map(|id| PeerConfig::new(format!("p{id}"), id, "p"));
            r.peers = peers.into();
            r.peers.iter_mut().for_each(|peer| peer.vectors = Some(256));
        };
        assert!(matches!(
            region(fixed),
            Err(BindError::ClientDescriptors { room: 900, .. })
        ));
        assert!(matches!(
            Config::default().check(),
            Err(BindError::NoRegion)
        ));
        let same = vec![RegionConfig::new("a"), RegionConfig::new("b")];
        let same = Config::new(same).check();
        assert!(matches!(same, Err(BindError::SameName(_))));
    }
}
