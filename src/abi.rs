// SPDX-License-Identifier: GPL-2.0

//! What the device, the driver, the host side and user programs agree on.
//!
//! Pure `core` code without a kernel type in any signature: the host crates compile the same files
//! (crate `ivshmem-abi`), so that a register offset, an ioctl number or a limit is written once.

pub mod events;
pub mod ioctl;
pub mod mmap;
pub mod pci;
pub mod regs;
