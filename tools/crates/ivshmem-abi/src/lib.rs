// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the ivshmem device, its Linux driver, the host side and user programs agree on.
//!
//! These are the files that the kernel module is built from: a register offset, an ioctl number, a
//! limit is written once. `core` only. In the repository they are symbolic links, so that a package of this crate has
//! the files themselves.

#![no_std]

pub mod events;
pub mod ioctl;
pub mod mmap;
pub mod pci;
pub mod regs;
