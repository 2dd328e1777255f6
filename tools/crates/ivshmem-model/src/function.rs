// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The state of one device: what a flavour's rules work on.

use alloc::vec::Vec;

use ivshmem_abi::pci::{BAR_MEMORY, BAR_MSIX, BAR_REGISTERS};

use crate::config::{offset, Config, BAR_64};
use crate::msix::{Message, Msix};

/// Number of base address registers that the device uses: 0, 1, and 2 with its upper half in 3.
pub(crate) const BAR_DWORDS: usize = 4;

/// The values behind the registers of BAR0.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    /// IntrMask.
    pub mask: u32,
    /// IntrStatus.
    pub status: u32,
    /// IVPosition.
    pub position: u32,
}

/// A base address register and what it decodes.
#[derive(Clone, Debug, Default)]
pub struct Bar {
    /// Size in bytes, a power of two; 0: the device does not have it.
    pub size: u64,
    /// Type bits of the register.
    pub flags: u32,
    /// Whether its register takes any address, not only multiples of the size.
    pub any_address: bool,
    /// Where it decodes now.
    pub mapped: Option<u64>,
}

/// What each address in a base address register is a multiple of: the bits below are the type.
pub(crate) const ADDRESS_UNIT: u64 = 16;

impl Bar {
    /// The bits of the address that software can set, in both halves.
    pub(crate) fn mask(&self) -> u64 {
        match self.any_address && self.size > 0 {
            true => !(ADDRESS_UNIT - 1),
            false => self.size_mask(),
        }
    }

    /// The bits of the address that are not below the size, in both halves.
    pub(crate) fn size_mask(&self) -> u64 {
        match self.size {
            0 => 0,
            size => !(size - 1),
        }
    }
}

/// One device of one virtual machine.
#[derive(Clone, Debug)]
pub struct Function {
    /// Configuration space.
    pub config: Config,
    /// BAR0, BAR1 and BAR2.
    pub bars: [Bar; 3],
    /// BAR0's registers.
    pub registers: Registers,
    /// The MSI-X table, if the flavour has one.
    pub msix: Option<Msix>,
    /// What the hypervisor remembers between accesses.
    pub(crate) quirks: Quirks,
    /// Messages that the device wants to send, oldest first: vector and message.
    pub(crate) outbox: Vec<(u16, Message)>,
}

/// What ACRN's implementations remember between accesses beyond what a device has to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quirks {
    /// The value that the last read left behind.
    pub stale: u64,
    /// The last value written to each base address register; `None`: not written yet.
    pub written: [Option<u32>; BAR_DWORDS],
    /// Where the device model put each BAR when it created the device.
    pub placed: [Option<u64>; 3],
}

impl Function {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            bars: Default::default(),
            registers: Registers::default(),
            msix: None,
            quirks: Quirks::default(),
            outbox: Vec::new(),
        }
    }

    /// Adds BAR0.
    pub(crate) fn add_registers(&mut self, size: u64) {
        self.add_bar(BAR_REGISTERS, size, 0);
    }

    /// Adds BAR1.
    pub(crate) fn add_msix_bar(&mut self, size: u64) {
        self.add_bar(BAR_MSIX, size, 0);
    }

    /// Adds BAR2, 64 bits wide.
    pub(crate) fn add_memory(&mut self, size: u64, flags: u32) {
        self.add_bar(BAR_MEMORY, size, flags | BAR_64);
    }

    /// Adds a BAR.
    pub(crate) fn add_bar(&mut self, bar: u32, size: u64, flags: u32) {
        // CAST: A BAR number.
        let bar = bar as usize;
        self.bars[bar].size = size;
        self.bars[bar].flags = flags;
        self.set_base(bar, 0);
    }

    /// Makes the address bits of all base address registers writable.
    pub(crate) fn allow_bars(&mut self) {
        for bar in 0..self.bars.len() {
            let mask = self.bars[bar].mask();
            // CAST: The two halves.
            self.config.allow_u32(register(bar), mask as u32);
            if self.bars[bar].flags & BAR_64 != 0 {
                self.config
                    .allow_u32(register(bar + 1), (mask >> 32) as u32);
            }
        }
    }

    /// The address in a base address register, whatever it decodes.
    pub fn base(&self, bar: usize) -> u64 {
        let low = u64::from(self.config.u32(register(bar)));
        let high = match self.bars[bar].flags & BAR_64 {
            0 => 0,
            _ => u64::from(self.config.u32(register(bar + 1))),
        };
        (high << 32 | low) & self.bars[bar].mask()
    }

    /// Stores an address into a base address register, as a firmware does.
    pub(crate) fn set_base(&mut self, bar: usize, address: u64) {
        let Bar { flags, .. } = self.bars[bar];
        let address = address & self.bars[bar].mask();
        // CAST: The two halves.
        self.config.set_u32(register(bar), address as u32 | flags);
        if flags & BAR_64 != 0 {
            self.config
                .set_u32(register(bar + 1), (address >> 32) as u32);
        }
    }

    /// The BAR and the offset in it that answer at a guest physical address.
    pub fn decode(&self, address: u64, bytes: u64) -> Option<(usize, u64)> {
        self.bars.iter().enumerate().find_map(|(number, bar)| {
            let at = address.checked_sub(bar.mapped?)?;
            (at.checked_add(bytes)? <= bar.size).then_some((number, at))
        })
    }

    /// Sends the message of a vector.
    pub(crate) fn send(&mut self, vector: u16) {
        if let Some(msix) = &self.msix {
            self.outbox.push((vector, msix.message(vector)));
        }
    }
}

/// Offset of a base address register in configuration space.
pub(crate) fn register(bar: usize) -> u16 {
    // CAST: A BAR number.
    offset::BAR + 4 * bar as u16
}
