// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Many endpoints on one part of the memory: each can send to each other one, and tells all who it is.

mod area;
mod incoming;
mod neighbours;
mod service;

pub use area::{Area, Purpose, OVERWRITE};
pub use incoming::{Heard, Incoming};
pub use neighbours::{Change, Mesh, Neighbour, LOOK};
pub use service::{serve, Program};
