// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A host process as a peer of virtual machines.
//!
//! A [`Peer`] connects to an ivshmem server as QEMU does. It gets an ID, the shared memory and the doorbells
//! of everybody, is rung, and sees others come and go. It implements [`ivshmem::Link`], so that whatever is
//! made for a guest's [`Endpoint`](ivshmem::Endpoint) runs in a host process too.
//!
//! ```no_run
//! use std::time::Duration;
//! use ivshmem::{Doorbell, Memory, Waiter};
//! use ivshmem_peer::Peer;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let peer = Peer::join("/tmp/ivshmem.sock")?;
//! println!("peer {} of {:?}", peer.peer_id(), peer.members());
//! peer.write(0, b"hello")?;
//! peer.ring(1, 0)?;
//! let rung = peer.wait(0, Some(Duration::from_secs(5)))?;
//! # Ok(())
//! # }
//! ```
//!
//! # Trust
//!
//! The doorbells are eventfds, which all peers share: each can drain another's, fill it up, or change its
//! `O_NONBLOCK`. What that can do here is to lose or invent rings, which are hints anyway; it cannot stop
//! a [`Peer`]: the eventfds are read in a way that never blocks, and written only when they have room. (One
//! gap is left, of less than a microsecond: who clears `O_NONBLOCK` and fills the counter between the look
//! and the write blocks that one ring until the owner reads the counter.)
//!
//! Memory that is not sealed against shrinking can be truncated by any peer, which raises SIGBUS at the
//! others' next access. `ivshmem-server` seals what it makes.

mod board;
mod connection;
mod error;
mod eventfd;
mod listener;
mod peer;
mod state;

pub use error::JoinError;
pub use peer::{Options, Peer, DEFAULT_PATIENCE};
pub use state::{Members, Server};
