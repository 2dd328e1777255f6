// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A small client of QEMU's qtest, and scripts that run on QEMU and on the device model alike.
//!
//! A [`Qemu`] executes no guest; its devices are read and written from here, in microseconds. A [`Target`] is
//! a machine with an ivshmem device: QEMU's own, the model plugged into QEMU, or the model alone. A
//! [`Script`] is a reproducible sequence of random accesses of one machine; [`difference`] runs those of some
//! [`Machines`] on two sides.

mod error;
mod qemu;
mod script;
mod target;

pub use error::{Error, Result};
pub use qemu::{Monitor, Qemu};
pub use script::{difference, Difference, Limits, Machines, Op, Script, Turns};
pub use target::{InModel, InQemu, Target};
