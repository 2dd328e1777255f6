// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The rows of the report.
//!
//! A group of rows is a file below `rows/` and a line in [`GROUPS`]; its series come from a stage.

mod calls;
mod channels;
mod doorbell;
mod faults;
mod handler;
mod network;
mod pair;
mod server;
mod threads;
mod wake;

use crate::row::Group;

/// All groups, in the order of the report.
pub static GROUPS: [&Group; 15] = [
    &doorbell::GROUP,
    &wake::ASLEEP,
    &wake::LOOKING,
    &wake::IDLE,
    &handler::GROUP,
    &calls::GROUP,
    &faults::LOW,
    &faults::HIGH,
    &threads::GROUP,
    &pair::GROUP,
    &network::GROUP,
    &channels::STREAM,
    &channels::ROUNDS,
    &channels::LANES,
    &server::GROUP,
];
