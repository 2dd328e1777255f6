// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! How one server follows another, without a client noticing.
//!
//! QEMU cannot connect a second time. So a server that ends, for whatever reason, leaves two things to
//! the next one:
//!
//! * its *descriptors*: listening sockets, connections, memory and eventfds. Each has a name
//!   ([`names`]) that says what it is.
//! * its *state*: who is there, and what each client has been told. It is in a [`journal`], which is one
//!   descriptor more: a file in memory with a snapshot of the [`state`], and a record of all that happened
//!   since.
//!
//! There are two ways for them to go over, with the same names and the same journal:
//!
//! ```text
//!        kill -9, restart                              by hand
//!
//!   server ──descriptors──▶ service          server ◀──connects── successor
//!      │        [keeper]    manager             │     [hand_over]     ▲
//!      ✝                       │                └─────descriptors─────┘
//!                              │
//!   successor ◀────────────────┘             Its journal is made for the occasion.
//!          [inheritance]
//! ```
//!
//! * With a service manager ([`manager`]), the [`keeper`] has every descriptor kept as soon as there is
//!   one, and writes down what it does before it does it. A server can so be killed at any moment.
//! * A successor that is started by hand asks the running server for everything ([`hand_over`]).
//!
//! The successor finds what it got in its [`inheritance`], and reads the journal in it
//! ([`predecessor`]).
//!
//! # The last message
//!
//! One thing a server cannot write down before it does it: that a message was sent. If it is killed
//! around that moment, the next must neither repeat the message, as that would shift the numbers of the
//! vectors, nor leave it out. So the kernel writes it down. `sendmmsg(2)` notes in its argument how much
//! of each message it sent, and it does not return to a process that is killed before it is done. Its
//! argument is in a [`page`] of the journal, where the next server finds it.
//!
//! What is left is a client that was accepted and not yet given to the manager. No system call does
//! both; it is closed without a word.

pub(crate) mod hand_over;
pub(crate) mod inheritance;
pub(crate) mod journal;
pub(crate) mod keeper;
pub(crate) mod manager;
pub(crate) mod names;
pub(crate) mod page;
pub(crate) mod predecessor;
pub(crate) mod state;
