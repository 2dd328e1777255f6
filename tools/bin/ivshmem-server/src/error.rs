// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Why a server does not start.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use ivshmem_protocol::{PeerId, ReserveError};

use crate::bounds::{MAX_PEERS, VECTORS};
use crate::RegionSize;

/// Why a server does not start. Where a system call failed, [`source`](std::error::Error::source) says
/// why.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// [`RegionConfig::vectors`](crate::RegionConfig::vectors) or `PeerConfig::vectors` is out of range.
    #[error("{0} vectors are not possible, choose {first} to {last}",
        first = VECTORS.start(), last = VECTORS.end())]
    Vectors(u16),
    /// [`RegionConfig::max_peers`](crate::RegionConfig::max_peers) is out of range.
    #[error("{0} peers are not possible, choose {first} to {last}",
        first = MAX_PEERS.start(), last = MAX_PEERS.end())]
    MaxPeers(u32),
    /// More eventfds go to each client than it can have.
    #[error(
        "the vectors of {max_peers} peers would take {total} descriptors in each QEMU, which dies if it \
        cannot have them; with a limit of {limit} open files it can have {room}: lower --max-peers or --vectors, \
        or raise the limit of every QEMU (ulimit -n, LimitNOFILE=) and say so by --client-descriptors"
    )]
    ClientDescriptors {
        /// Clients that there can be.
        max_peers: u32,
        /// Vectors that they have together.
        total: u32,
        /// Open files that each client can have.
        limit: u32,
        /// How many of them can be eventfds.
        room: u32,
    },
    /// There is nothing to serve.
    #[error("there is no region; give --socket-path, or a [[region]] in the configuration")]
    NoRegion,
    /// A name has characters that it cannot have.
    #[error("{0:?} is not a name: use 1 to 64 letters, digits, - and _")]
    Name(String),
    /// A region has a name that means something else among descriptors.
    #[error("a region cannot be called {0}, as descriptors are; choose another name")]
    ReservedName(String),
    /// Two regions, or two peers of one region, have the same name.
    #[error("the name {0} is used twice")]
    SameName(String),
    /// Two peers of one region have the same ID.
    #[error("the ID {0} is used twice in one region")]
    SameId(u16),
    /// There are fewer places than peers with a fixed ID.
    #[error("{0} peers have a fixed ID, but there are only {1} places; raise max-peers")]
    TooManyFixed(usize, u32),
    /// A fixed ID is not free.
    #[error("region {0}: the ID cannot be fixed")]
    FixedId(String, #[source] ReserveError),
    /// The number of vectors of a fixed ID cannot change.
    #[error(
        "region {region}: ID {id} has had {had} vectors, and cannot get {wanted} as long as \
        clients know of it; restart the server without taking over"
    )]
    FixedVectors {
        /// The region.
        region: String,
        /// The fixed ID.
        id: PeerId,
        /// Vectors that it has.
        had: usize,
        /// Vectors that it should have.
        wanted: u16,
    },
    /// No socket was given for this region or peer.
    #[error("{0} has no socket: give it a socket-path, or pass a listening socket of that name")]
    NoSocket(String),
    /// The directory of a socket does not exist.
    #[error("cannot make the socket {socket}: create {directory}")]
    NoDirectory {
        /// The socket.
        socket: PathBuf,
        /// Its directory.
        directory: PathBuf,
    },
    /// What was passed in is not a listening UNIX stream socket.
    #[error("the descriptor for {0} is not a listening UNIX stream socket")]
    NotListening(String),
    /// A listening socket was passed in that has no use.
    #[error("a socket was passed in as {0}, but no region or peer has that name")]
    Unused(String),
    /// Huge pages are for a memfd only.
    #[error("huge pages need memory from a memfd; for a file, choose one in a hugetlbfs mount")]
    HugePagesOfFile,
    /// The size is less than one huge page.
    #[error("a memory of {0} is smaller than one of its huge pages")]
    SmallerThanPage(RegionSize),
    /// The memory could not be bound to a NUMA node.
    #[error(
        "cannot have the memory on NUMA node {0}; those that have memory are in \
        /sys/devices/system/node/has_memory"
    )]
    NumaNode(u32, #[source] io::Error),
    /// The file of the memory is on a disk.
    #[error("numa-node needs a memfd, or a file in a tmpfs or hugetlbfs")]
    NumaNodeOfFile,
    /// The memory could not be allocated.
    #[error("cannot allocate {0} {1}")]
    NoMemory(RegionSize, &'static str, #[source] io::Error),
    /// [`Triggers::stop`](crate::Triggers::stop) was used before the server was ready.
    #[error("stopped before it was ready")]
    Stopped,
    /// The file that is to be used again has another size.
    #[error("{0} has {1} bytes instead of {2}; choose that size, or remove it if nobody uses it")]
    KeptSize(PathBuf, u64, RegionSize),
    /// The file that is to be used again belongs to somebody who could look into it.
    #[error(
        "{0} belongs to user {1}, who would share the memory; remove it, or make it this user's"
    )]
    KeptOwner(PathBuf, u32),
    /// The memory of the server before this one has another size.
    #[error(
        "the memory of region {region} has {found} bytes and cannot become {wanted}: keep the \
        size, or restart the server without taking over"
    )]
    InheritedSize {
        /// The region.
        region: String,
        /// Its size in bytes.
        found: u64,
        /// The size that it should have.
        wanted: RegionSize,
    },
    /// The server before this one gave its clients another number of vectors.
    #[error(
        "the clients of region {region} have {had} vectors and cannot get {wanted}: keep the number, or \
        restart the server without taking over"
    )]
    InheritedVectors {
        /// The region.
        region: String,
        /// Vectors of its clients.
        had: u16,
        /// Vectors that they should have.
        wanted: u16,
    },
    /// The server before this one had a region that is not in the configuration.
    #[error(
        "region {0} has clients but is not in the configuration; add it, or restart the \
        server without taking over"
    )]
    LostRegion(String),
    /// What the server before this one left cannot be understood.
    #[error("cannot take over from the server before: {0}")]
    Inheritance(String),
    /// The file for the memory exists.
    #[error("{0} exists; remove it if nobody uses it, choose another, or use it by --keep-memory")]
    MemoryExists(PathBuf),
    /// The file for the memory cannot be created or resized.
    #[error("cannot create the memory in {0}")]
    MemoryFile(PathBuf, #[source] io::Error),
    /// Another server holds the lock file of the socket.
    #[error("another server uses {0}; stop it or choose another socket path")]
    Locked(PathBuf),
    /// A program without a lock file accepts connections on the socket.
    #[error("another program listens on {0}; stop it or choose another socket path")]
    InUse(PathBuf),
    /// Something else than a socket is in the place of the socket.
    #[error("{0} exists and is not a socket; choose another socket path")]
    NotASocket(PathBuf),
    /// The path is longer than the address of a socket can be.
    #[error("{0} is too long for the path of a socket, which has at most 107 bytes")]
    PathTooLong(PathBuf),
    /// A step on the way to a listening socket failed.
    #[error("cannot {action} {path}")]
    Path {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The system has no more of something.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

pub(crate) fn system(action: &'static str) -> impl Fn(Errno) -> BindError {
    move |errno| BindError::System {
        action,
        source: errno.into(),
    }
}
