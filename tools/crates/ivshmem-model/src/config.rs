// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! PCI configuration space: bytes, and which of their bits software can write.

use alloc::vec;
use alloc::vec::Vec;

use ivshmem_abi::pci::{BAR_MSIX, DEVICE_ID, VENDOR_ID};

use crate::width::Width;

/// Offsets in configuration space (PCI Local Bus Specification 3.0, chapter 6), and the bits that the
/// model needs.
pub mod offset {
    /// Vendor ID, 16 bits.
    pub const VENDOR: u16 = 0x00;
    /// Device ID, 16 bits.
    pub const DEVICE: u16 = 0x02;
    /// Command, 16 bits.
    pub const COMMAND: u16 = 0x04;
    /// Status, 16 bits.
    pub const STATUS: u16 = 0x06;
    /// Revision, 8 bits.
    pub const REVISION: u16 = 0x08;
    /// Class, 16 bits: base class and subclass.
    pub const CLASS: u16 = 0x0a;
    /// Cache line size, 8 bits.
    pub const CACHE_LINE: u16 = 0x0c;
    /// Header type, 8 bits.
    pub const HEADER_TYPE: u16 = 0x0e;
    /// The first of six base address registers, 32 bits each.
    pub const BAR: u16 = 0x10;
    /// Subsystem vendor ID, 16 bits.
    pub const SUBSYSTEM_VENDOR: u16 = 0x2c;
    /// Subsystem ID, 16 bits.
    pub const SUBSYSTEM: u16 = 0x2e;
    /// Base address of the expansion ROM, 32 bits.
    pub const ROM: u16 = 0x30;
    /// Offset of the first capability, 8 bits.
    pub const CAPABILITIES: u16 = 0x34;
    /// Interrupt line, 8 bits.
    pub const INTERRUPT_LINE: u16 = 0x3c;
    /// Interrupt pin, 8 bits.
    pub const INTERRUPT_PIN: u16 = 0x3d;
    /// Where both QEMU and ACRN put the MSI-X capability.
    pub const MSIX: u16 = 0x40;
    /// Message control of MSI-X, 16 bits.
    pub const MSIX_CONTROL: u16 = MSIX + 2;
}

/// [`offset::COMMAND`]: the BARs decode.
pub const COMMAND_MEMORY: u16 = 1 << 1;
/// [`offset::COMMAND`]: the device may write to memory, which is what an MSI-X message is.
pub const COMMAND_MASTER: u16 = 1 << 2;
/// [`offset::STATUS`]: there is a list of capabilities.
pub const STATUS_CAPABILITIES: u16 = 1 << 4;
/// [`offset::MSIX_CONTROL`]: all vectors are masked.
pub const MSIX_FUNCTION_MASK: u16 = 1 << 14;
/// [`offset::MSIX_CONTROL`]: MSI-X is on.
pub const MSIX_ENABLE: u16 = 1 << 15;

/// [`offset::HEADER_TYPE`]: there are more functions.
pub(crate) const MULTI_FUNCTION: u8 = 0x80;

/// Bytes of the MSI-X capability.
const MSIX_LENGTH: u16 = 12;
const CAPABILITY_MSIX: u8 = 0x11;
/// Class of RAM: a memory controller.
pub(crate) const CLASS_MEMORY_RAM: u16 = 0x0500;
const REVISION: u8 = 1;

/// Type bits of a base address register: I/O ports, not memory.
pub(crate) const BAR_IO: u32 = 0b0001;
/// Type bits of a base address register: 64 bits wide.
pub(crate) const BAR_64: u32 = 0b0100;
/// Type bits of a base address register: prefetchable.
pub(crate) const BAR_PREFETCH: u32 = 0b1000;

/// The configuration space of one function.
#[derive(Clone, Debug)]
pub struct Config {
    bytes: Vec<u8>,
    /// Bits that a write changes.
    writable: Vec<u8>,
}

impl Config {
    /// A space of `len` bytes that holds only what most flavours agree on: IDs, class, revision.
    pub(crate) fn new(len: usize) -> Self {
        let mut config = Self {
            bytes: vec![0; len],
            writable: vec![0; len],
        };
        config.set_u16(offset::VENDOR, VENDOR_ID);
        config.set_u16(offset::DEVICE, DEVICE_ID);
        config.set_u8(offset::REVISION, REVISION);
        config.set_u16(offset::CLASS, CLASS_MEMORY_RAM);
        config
    }

    /// Adds the MSI-X capability: `vectors` of at least 1, its pending bits at `pba` in BAR1.
    pub(crate) fn add_msix(&mut self, vectors: u16, pba: u32) {
        let status = self.u16(offset::STATUS) | STATUS_CAPABILITIES;
        self.set_u16(offset::STATUS, status);
        self.set_u8(offset::CAPABILITIES, offset::MSIX as u8);
        self.set_u8(offset::MSIX, CAPABILITY_MSIX);
        self.set_u16(offset::MSIX_CONTROL, vectors - 1);
        self.set_u32(offset::MSIX + 4, BAR_MSIX);
        self.set_u32(offset::MSIX + 8, pba | BAR_MSIX);
        self.allow(offset::MSIX, MSIX_LENGTH, 0);
        self.allow_u16(offset::MSIX_CONTROL, MSIX_FUNCTION_MASK | MSIX_ENABLE);
    }

    /// Makes `mask` of each of `len` bytes writable, and the other bits not.
    pub(crate) fn allow(&mut self, offset: u16, len: u16, mask: u8) {
        let start = usize::from(offset);
        self.writable[start..start + usize::from(len)].fill(mask);
    }

    /// Makes these bits of a 16-bit register writable, and the others not.
    pub(crate) fn allow_u16(&mut self, offset: u16, mask: u16) {
        let start = usize::from(offset);
        self.writable[start..start + 2].copy_from_slice(&mask.to_le_bytes());
    }

    /// Makes these bits of a 32-bit register writable, and the others not.
    pub(crate) fn allow_u32(&mut self, offset: u16, mask: u32) {
        let start = usize::from(offset);
        self.writable[start..start + 4].copy_from_slice(&mask.to_le_bytes());
    }

    /// Clears the writable bits of `len` bytes.
    pub(crate) fn clear_writable(&mut self, offset: u16, len: u16) {
        for at in usize::from(offset)..usize::from(offset + len) {
            self.bytes[at] &= !self.writable[at];
        }
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The value at `offset`. Bytes after the end are all ones, as where no device answers.
    pub fn read(&self, offset: u16, width: Width) -> u64 {
        (0..width.bytes()).rev().fold(0, |value, at| {
            let at = usize::from(offset) + at as usize;
            value << 8 | u64::from(self.bytes.get(at).copied().unwrap_or(0xff))
        })
    }

    /// Changes the writable bits at `offset`.
    pub(crate) fn write(&mut self, offset: u16, width: Width, value: u64) {
        let start = usize::from(offset);
        for at in 0..width.bytes() as usize {
            let byte = value.to_le_bytes()[at];
            if let Some(old) = self.bytes.get_mut(start + at) {
                let writable = self.writable[start + at];
                *old = (*old & !writable) | (byte & writable);
            }
        }
    }

    /// A 16-bit register.
    pub fn u16(&self, offset: u16) -> u16 {
        self.read(offset, Width::U16) as u16
    }

    /// A 32-bit register.
    pub fn u32(&self, offset: u16) -> u32 {
        self.read(offset, Width::U32) as u32
    }

    pub(crate) fn set_u8(&mut self, offset: u16, value: u8) {
        self.bytes[usize::from(offset)] = value;
    }

    pub(crate) fn set_u16(&mut self, offset: u16, value: u16) {
        let start = usize::from(offset);
        self.bytes[start..start + 2].copy_from_slice(&value.to_le_bytes());
    }

    /// Stores a 32-bit register, as a hypervisor does: whatever software may write.
    pub fn set_u32(&mut self, offset: u16, value: u32) {
        let start = usize::from(offset);
        self.bytes[start..start + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Whether the command register has this bit.
    pub(crate) fn command(&self, bit: u16) -> bool {
        self.u16(offset::COMMAND) & bit != 0
    }
}
