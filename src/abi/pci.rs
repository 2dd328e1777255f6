// SPDX-License-Identifier: GPL-2.0 OR MIT

//! PCI identity of the device: IDs, BAR (base address register) numbers, interrupt vectors.
//!
//! Source: QEMU's `docs/specs/ivshmem-spec.rst`, section "PCI device".

/// Vendor ID of Red Hat's Qumranet branch.
pub const VENDOR_ID: u16 = 0x1af4;

/// Device ID of the inter-VM shared memory device.
pub const DEVICE_ID: u16 = 0x1110;

/// The BAR that holds the registers of [`super::regs`]: 256 bytes in QEMU, 256 or 4096 in ACRN.
pub const BAR_REGISTERS: u32 = 0;

/// The BAR that holds the MSI-X (message signalled interrupts, extended) table.
pub const BAR_MSIX: u32 = 1;

/// The BAR that is the shared memory.
pub const BAR_MEMORY: u32 = 2;

/// Most interrupt vectors that the driver can arm, whatever the device offers: masks of vectors
/// have 64 bits. How many it arms is a parameter of the module, 8 by default.
pub const MAX_VECTORS: usize = 64;
