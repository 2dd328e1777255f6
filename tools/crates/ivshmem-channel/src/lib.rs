// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Channels between virtual machines and host processes: messages and presence in shared memory.
//!
//! A channel is an area of the shared memory with a header, a table of *slots*, one for each program that can
//! take part, *ring buffers*, each from one slot to another, or from all others to one, and *topics*, each from one to all.
//! (Functions say `ring` for short; "to ring" is the doorbell's.) `Documentation/channel.rst` has the layout, for
//! those who write the other end in another language.
//!
//! * [`Channel`]: makes an area, or opens one that is there.
//! * [`Member`]: a slot that this program has joined, and who else is there. Crashes are seen by a heartbeat
//!   that stops; a program that starts again joins again, and goes on with the ring buffers where it was. [`Changes`] tells of
//!   programs that come and go, and [`Observer`] those who have not joined.
//! * [`Sender`], [`Receiver`]: the two ends of a ring buffer.
//! * [`MultiReceiver`]: the receiving end of a ring buffer with several senders.
//! * [`Publisher`], [`Subscriber`]: the two ends of a topic, of whose values each reads what it has time for.
//! * [`select`]: waits for several receivers at a time. [`Cancel`] ends waits from another thread. [`Watch`]: a descriptor
//!   for event loops.
//! * [`ByteReader`], [`ByteWriter`]: a ring buffer as a stream of bytes, for [`std::io`].
//! * [`rpc`]: requests and replies.
//! * [`Areas`]: parts of the memory that programs find by name.
//! * `Messages`, `Outbox`: receivers and senders as a stream and a sink, with the feature `tokio`.
//! * `Typed`: messages and values of one type, with the feature `zerocopy`.
//!
//! Everything that the other side can write is checked before it is used, once for all: a peer that is hostile
//! or has gone mad makes [`Error::Corrupt`], after which the ring buffer is of no use until the channel is
//! [recreated](Channel::reset). It cannot cause a panic, an endless loop or an access outside of the memory.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//! use ivshmem::Endpoint;
//! use ivshmem_channel::{Channel, Layout};
//!
//! # fn main() -> Result<(), ivshmem_channel::Error> {
//! let link = Arc::new(Endpoint::open("/dev/ivshmem0")?);
//! let channel = Channel::open_or_create(link, 0, &Layout::duplex(1 << 16))?;
//! let me = channel.join(0, 0)?; // slot 0, rung by vector 0
//! let mut to = me.sender(1)?;
//! let mut from = me.receiver(1)?;
//! to.send(b"hello", None)?;
//! if let Some(message) = from.next(Some(Duration::from_secs(5)))? {
//!     println!("{:?}", message.to_vec()?);
//!     message.done()?;
//! }
//! # Ok(())
//! # }
//! ```

#[cfg(target_endian = "big")]
compile_error!("the layout is little-endian, and this crate does not swap bytes");

mod alarm;
mod areas;
mod bytes;
mod cancel;
mod changes;
mod channel;
mod end;
mod error;
mod join;
mod layout;
mod making;
mod member;
mod multi;
mod observer;
mod presence;
mod publisher;
mod random;
mod receiver;
pub mod ring;
pub mod rpc;
mod seat;
mod select;
mod sender;
mod slot;
#[cfg(feature = "tokio")]
mod stream;
mod subscriber;
pub mod topic;
#[cfg(feature = "zerocopy")]
mod typed;
mod wait;
mod watch;

pub use areas::{Areas, MAX_AREAS};
pub use bytes::{ByteReader, ByteWriter};
pub use cancel::Cancel;
pub use changes::{Change, Changes};
pub use channel::Channel;
pub use error::{Error, Result};
pub use join::Joining;
pub use layout::{Invalid, Layout, Plan, Producers, RingSpec, TopicSpec, MAX_RINGS, MAX_SLOTS};
pub use member::Member;
pub use multi::MultiReceiver;
pub use observer::Observer;
pub use presence::Presence;
pub use publisher::Publisher;
pub use receiver::{Message, Receiver};
pub use select::{select, Selectable};
pub use sender::{Reservation, Room, Sender};
#[cfg(feature = "tokio")]
pub use stream::{Messages, Outbox};
pub use subscriber::Subscriber;
#[cfg(feature = "zerocopy")]
pub use typed::{Plain, Typed};
pub use wait::Spin;
pub use watch::Watch;
