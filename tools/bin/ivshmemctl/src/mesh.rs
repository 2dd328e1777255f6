// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Many ends on one part of the memory: each can send to each other one, and tells all who it is.

mod area;
mod incoming;
mod neighbours;
mod service;

pub use area::{Area, Purpose, ANEW};
pub use incoming::{Heard, Incoming};
pub use neighbours::{Change, Mesh, Neighbour, LOOK};
pub use service::{serve, Program};
