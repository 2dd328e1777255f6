// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Boots small virtual machines and runs commands in them.
//!
//! A guest is QEMU with a kernel and a file system of static programs in RAM: an agent as the first
//! process, busybox, and the files that the caller gives. The agent runs commands on request, several at
//! once, so a test on the host drives any number of guests with ordinary code:
//!
//! ```no_run
//! use vmbench::{boot_all, Device, Guest, Mark, Region};
//!
//! # fn main() -> vmbench::Result<()> {
//! let region = Region::start(1 << 20, 8)?;
//! let guest = Guest::builder()
//!     .device(Device::doorbell(&region))
//!     .module("ivshmem_rs.ko");
//! let guests = boot_all(&[guest.clone().name("a"), guest.name("b")])?;
//! let (a, b) = (&guests[0], &guests[1]);
//!
//! let mut waiter = a.command(["wait-for-doorbell"]).spawn()?;
//! waiter.wait_for_output("sleeping")?;
//! b.run(["ring-doorbell", "0"])?.check()?;
//! assert!(waiter.wait()?.success());
//! assert_eq!(a.kernel_splats(Mark::BOOT)?, []);
//! # Ok(())
//! # }
//! ```
//!
//! Every wait has the guest's one [`limit`](Builder::limit), and an error shows the end of the guest's console.
//! Guests under emulation are slow and tests share the host, so the limit is wide, and is one on silence: it is there
//! to end what hangs, not to measure. A program in a guest that gives itself less has its say first.
//!
//! # What stays behind
//!
//! Nothing. Dropping a [`Guest`] or a [`Region`] ends its process and removes its files, and the kernel
//! kills the processes when the one that started them ends in any way. A guest uses no file, no path and
//! no port of the host; a region has one directory for its socket. A program that wants that directory
//! removed on Ctrl-C too calls [`cleanup::on_signals`].

pub mod build;
pub mod cleanup;
pub mod splat;

mod arch;
mod board;
mod builder;
mod command;
mod error;
mod exit;
mod guest;
mod hibernation;
mod initramfs;
mod machine;
mod migration;
mod monitor;
mod nudge;
mod process;
mod qmp;
mod region;
mod sandbox;
mod session;

pub use arch::Arch;
pub use builder::{Accel, Builder, Device, Firmware};
pub use builder::{DEFAULT_LIMIT, DEFAULT_MEMORY_MIB};
pub use command::{Command, Output, Running};
pub use error::{Error, Result};
pub use exit::Exit;
pub use guest::{boot_all, Guest, Mark};
pub use monitor::Event;
pub use qmp::Qmp;
pub use region::{Memory, Region};
pub use rustix::process::Signal;
pub use sandbox::{checkout, kernel_module, qemu};
pub use splat::Splat;
pub use vmbench_proto::{Status, Stream};
