// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The server as its clients and its operator see it.

mod access;
mod activation;
mod chaos;
mod client;
mod confine;
mod control;
mod crowd;
mod dice;
mod filter;
mod fixed;
mod foreign;
mod handshake;
mod hostile;
mod interrupts;
mod kill;
mod manager;
mod numa;
mod packaging;
mod program;
mod qemu_options;
mod refusal;
mod server;
mod socket;
mod status;
mod succession;
mod weaknesses;

/// What [`manager`] starts, which is elsewhere for guest tests.
mod service {
    pub use crate::server::{program, Running};
}
