// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The commands, one module each.

pub mod bench;
pub mod chat;
pub mod completions;
pub mod console;
pub mod cp;
pub mod doctor;
pub mod dump;
pub mod forward;
pub mod info;
pub mod launch;
pub mod list;
pub mod load;
pub mod manual;
pub mod monitor;
pub mod peek;
pub mod peers;
pub mod ping;
pub mod poke;
pub mod ring;
pub mod server;
pub mod stat;
pub mod top;
pub mod tunnel;
pub mod wait;
pub mod watch;
