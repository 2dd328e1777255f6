// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Shared memory and doorbells between virtual machines, for programs in a guest.
//!
//! The driver `ivshmem_rs` makes a node `/dev/ivshmemN` for each device. A [`Device`] is an open node: it
//! rings others, and is rung. A [`Mapping`] is its memory. An [`Endpoint`] is both, and implements
//! [`Link`], which is what code takes that shall run in a guest and in a host process alike (the crate
//! `ivshmem-peer` has the host's implementation, the crate `ivshmem-channel` builds on it).
//!
//! Where the driver cannot be loaded, [`AnyEndpoint`] opens the device by what any kernel has.
//!
//! # Shared memory
//!
//! Another guest can write to the memory at any time, and need not be honest. So no reference into it
//! is ever formed. All access is by copies and atomic operations ([`Memory`]), checked against its size.
//! Copies are as good as relaxed atomic operations: a race with the other guest gives a mixture of old and
//! new bytes, and no undefined behaviour. **Read what decides once, into a variable, and check the
//! variable.**
//!
//! When the device is unplugged or the driver is unbound, the memory is taken away: touching it then ends
//! the process with SIGBUS, unless it has a handler. [`EventPage::is_dead`] and every call of [`Device`]
//! tell of it, but the device can go right after one has looked.
//!
//! # Features
//!
//! `tokio`: the type `AsyncDevice`, events as futures. Off unless asked for.
//!
//! # Example
//!
//! ```no_run
//! use std::sync::atomic::Ordering;
//! use ivshmem::{Doorbell, Endpoint, Memory, Waiter};
//!
//! # fn main() -> Result<(), ivshmem::Error> {
//! let end = Endpoint::open("/dev/ivshmem0")?;
//! end.write(64, b"hello")?;
//! end.store32(0, 1, Ordering::Release)?;
//! end.ring(1, 0)?; // what was written before is visible to peer 1 when it wakes
//! let before = 0;
//! while end.load32(4, Ordering::Acquire)? == before {
//!     end.wait_word(4, before, None)?; // sleeps until the peer has changed the word and rung
//! }
//! # Ok(())
//! # }
//! ```

mod any;
#[cfg(feature = "tokio")]
mod async_device;
mod bell;
mod copy;
mod device;
mod endpoint;
mod error;
mod event_page;
mod eventfd;
mod file;
mod info;
mod ioctl;
mod link;
mod lock;
mod mapping;
mod memory;
mod poll;
mod process;
mod resource;
mod sysfs;
mod vfio;

pub use any::{AnyEndpoint, Way};
#[cfg(feature = "tokio")]
pub use async_device::AsyncDevice;
pub use bell::Bell;
pub use device::{Device, Mode};
pub use endpoint::Endpoint;
pub use error::{Error, Result};
pub use event_page::EventPage;
pub use eventfd::ring_eventfd;
pub use file::SharedFile;
pub use info::{Cache, Info};
pub use ivshmem_abi::events::Event;
pub use ivshmem_abi::ioctl::{Ring, RING_MANY_MAX};
pub use ivshmem_abi::pci::MAX_VECTORS;
pub use ivshmem_abi::regs::{MAX_PEER, MAX_RING_VECTOR};
pub use link::{Doorbell, Link, Waiter};
pub use lock::{Lock, Locking};
pub use mapping::{Access, Mapping};
pub use memory::{AccessError, Memory};
pub use poll::{poll_word, POLL_INTERVAL};
pub use process::Process;
pub use resource::ResourceEndpoint;
pub use sysfs::{is_pci_address, Function, Sysfs};
pub use vfio::VfioEndpoint;
