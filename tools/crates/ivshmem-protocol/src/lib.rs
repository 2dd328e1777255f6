// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Wire protocol between an ivshmem server and its clients: encode, decode and decide, no I/O.
//!
//! # The protocol
//!
//! An ivshmem server listens on a UNIX stream socket and gives every virtual machine that
//! connects the same memory and a way to interrupt the others. All messages go from the
//! server to the client. Each is one little-endian signed 64-bit number, which zero or one
//! file descriptor accompanies:
//!
//! | order | number                | descriptor    | meaning                                       |
//! |-------|-----------------------|---------------|-----------------------------------------------|
//! | 1     | 0                     | none          | protocol version                              |
//! | 2     | own ID, 0 to 65535    | none          | the ID that the server gave to this client    |
//! | 3     | -1                    | shared memory | map it; its size is the size of the file      |
//! | 4     | ID of another client  | an eventfd    | once per vector, in order: writing rings it   |
//! | 5     | own ID                | an eventfd    | once per vector, in order: readable when rung |
//! | later | ID of another client  | an eventfd    | as 4: that client joined                      |
//! | later | ID of another client  | none          | that client left                              |
//!
//! Vector numbers are not transmitted; they are the count of messages so far. Nothing marks
//! the end of rows 4 and 5 either: who needs to know that all vectors have arrived must know
//! how many vectors the server hands out.
//!
//! # What is here
//!
//! * [`ServerMessage`] and [`Message`]: the numbers and their eight bytes.
//! * [`ClientDecoder`]: the client's side. Bytes and descriptors in, [`Event`]s out, with an
//!   exact [`DecodeError`] for everything that a server must not send.
//! * [`Membership`]: the server's side. Who is there, and what each client must be told next, so
//!   that it hears of each ID once, and of its end once.
//!
//! # Rules beyond the specification
//!
//! QEMU keeps a stale pointer to what it knew of a peer that has left, and uses it when the
//! same ID joins or leaves again. To a client that was told that an ID left, no word must be
//! said of that ID again. [`Membership`] therefore gives no ID to a second client, but for the
//! fixed ones, which never leave: it says nothing of them but once, when they first join, and
//! their next owner is rung by the same eventfds. Nor does it send a leave notice for an ID of which
//! the client has not heard.
//!
//! QEMU also reads the handshake (rows 1 to 3) in a loop that never ends if the server closes
//! the connection in the middle of it. A server that cannot serve a client says so with
//! [`ServerMessage::Refusal`], a version that nobody speaks, and closes only then.
//!
//! # Example
//!
//! ```
//! use ivshmem_protocol::{ClientDecoder, Event};
//!
//! let mut decoder = ClientDecoder::<()>::new();
//! assert_eq!(decoder.wanted(), 8);
//! assert_eq!(decoder.push(&[0; 8], None), Ok(Some(Event::Version)));
//! let id = decoder.push(&[7, 0, 0, 0, 0, 0, 0, 0], None);
//! assert_eq!(id, Ok(Some(Event::OwnId(7.into()))));
//! ```
#![no_std]

extern crate alloc;

mod client;
mod membership;
mod message;
mod peer;
mod recipient;

pub use client::{ClientDecoder, DecodeError, Event};
pub use membership::{ConnectionId, JoinError, Membership, ReserveError};
pub use message::{
    Message, ServerMessage, HANDSHAKE_MESSAGES, MESSAGE_LEN, PROTOCOL_VERSION, REFUSAL_VERSION,
    SHARED_MEMORY_MARK,
};
pub use peer::{PeerId, MAX_PEER_ID, MAX_VECTORS};
