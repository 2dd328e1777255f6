// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Server that gives virtual machines a common ivshmem region.
//!
//! Every QEMU that is started with
//!
//! ```text
//! -chardev socket,id=ivshmem,path=/tmp/ivshmem.sock
//! -device ivshmem-doorbell,chardev=ivshmem,vectors=8
//! ```
//!
//! connects to the server and gets from it the memory that all of them share, a number of its
//! own, and the eventfds by which they interrupt each other. Any other program can take part
//! in the same way; [`ivshmem_protocol`] has what it needs.
//!
//! # What the server warrants
//!
//! * The memory never changes its size: it is a sealed memfd, unless a file is asked for.
//! * All clients have the same number of vectors, [`RegionConfig::vectors`], except those with a fixed
//!   ID and a number of their own. It must be at least the `vectors=` of every QEMU: one with KVM
//!   that gets fewer aborts when its guest unmasks a vector for which there is no eventfd. More than `vectors=` does no harm but for a line in QEMU's log.
//! * No client hears of an ID again that it was told left, because QEMU does not survive that. IDs
//!   are given out in order. When they run out, the last ones are used again and again, as fixed
//!   ones are, without anybody being told who leaves.
//! * A client that cannot be served is refused by a protocol version that nobody speaks. QEMU
//!   then reports an error; had the server just closed the connection, QEMU would hang.
//! * No client holds up the server or other clients. One that does not read costs no more than one
//!   that does: the server remembers how far it has been told. One that sends something, which the protocol does not allow, is
//!   dropped.
//! * When the server ends, the memory and the interrupts of the clients go on working, but
//!   nobody can join any more and nobody hears of those who leave. There is no way for a
//!   running QEMU to connect to a new server.
//!
//! The server sees neither what the clients write nor when they interrupt each other.
//!
//! # Embedding it
//!
//! The server runs in any thread of any program:
//!
//! ```
//! use ivshmem_server::{RegionConfig, Server};
//!
//! # let directory = tempfile::tempdir()?;
//! # let socket_path = directory.path().join("ivshmem.sock");
//! let server = Server::bind(RegionConfig::new(socket_path))?;
//! let stop = server.stop_trigger();
//! let thread = std::thread::spawn(move || server.run(|_| ()));
//! // Clients can connect from here on.
//! stop.fire();
//! thread.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It logs through [`tracing`] and leaves signals and resource limits to the program;
//! [`Config::descriptors`] says how many file descriptors it may need.

mod access;
mod admission;
mod bounds;
mod client;
mod config;
mod control;
mod counters;
mod descriptors;
mod door;
mod doorbells;
mod error;
mod identity;
mod in_flight;
mod listener;
mod listeners;
mod lock;
mod memory;
mod pages;
mod poller;
mod rate;
mod region;
mod reload;
mod report;
mod restore;
mod server;
mod size;
mod source;
mod startup;
mod status;
mod succession;
mod sys;
mod trigger;

pub use access::{parse_group, parse_user, Access, ParseOwnerError, DEFAULT_SOCKET_MODE};
pub use admission::REFUSALS;
pub use bounds::MAX_VECTORS;
pub use config::{
    Config, PeerConfig, RegionConfig, DEFAULT_CLIENT_DESCRIPTORS, DEFAULT_JOIN_RATE,
    DEFAULT_MAX_PEERS, DEFAULT_REGION, DEFAULT_VECTORS,
};
pub use counters::{Counters, Refusals};
pub use error::BindError;
pub use rate::Bucket;
pub use report::{PeerReport, RegionReport, Report};
pub use server::Server;
pub use size::{ParseSizeError, RegionSize};
pub use source::{HugePages, MemorySource, ParseMemoryError};
pub use succession::hand_over::TakeOver;
pub use succession::inheritance::Inheritance;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use succession::journal::try_out as try_out_journal;
pub use succession::manager::ServiceManager;
pub use sys::inherit;
pub use trigger::{Trigger, Triggers};
