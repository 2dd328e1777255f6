// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the ivshmem device, its Linux driver, the host side and user programs agree on.
//!
//! These are the files that the kernel module is built from: a register offset, an ioctl number, a
//! limit is written once. `core` only.

#![no_std]

#[path = "../../../../src/abi/events.rs"]
pub mod events;
#[path = "../../../../src/abi/ioctl.rs"]
pub mod ioctl;
#[path = "../../../../src/abi/mmap.rs"]
pub mod mmap;
#[path = "../../../../src/abi/pci.rs"]
pub mod pci;
#[path = "../../../../src/abi/regs.rs"]
pub mod regs;
