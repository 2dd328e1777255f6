// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One interface to a device under test, whoever emulates it.

use std::collections::HashMap;

use ivshmem_model::{Memory, PeerId, Region, Width};

use crate::qemu::RAM;
use crate::{Qemu, Result};

/// A machine with an ivshmem device, as its processor sees it.
pub trait Target {
    /// Reads the device's configuration space: 8, 16 or 32 bits within an aligned 32-bit word.
    fn config_read(&mut self, offset: u16, width: Width) -> Result<u32>;

    /// Writes the device's configuration space, as [`Target::config_read`] reads it.
    fn config_write(&mut self, offset: u16, width: Width, value: u32) -> Result<()>;

    /// Reads guest physical memory.
    fn read(&mut self, address: u64, width: Width) -> Result<u64>;

    /// Writes guest physical memory.
    fn write(&mut self, address: u64, width: Width, value: u64) -> Result<()>;

    /// Resets the machine.
    fn reset(&mut self) -> Result<()>;

    /// Blocks until every doorbell that was rung before has had its effect.
    fn settle(&mut self) -> Result<()>;
}

/// A device in a slot of bus 0 of a QEMU.
#[derive(Debug)]
pub struct InQemu {
    /// The machine.
    pub qemu: Qemu,
    /// The slot.
    pub slot: u8,
}

impl Target for InQemu {
    fn config_read(&mut self, offset: u16, width: Width) -> Result<u32> {
        self.qemu.config_read(self.slot, offset, width)
    }

    fn config_write(&mut self, offset: u16, width: Width, value: u32) -> Result<()> {
        self.qemu.config_write(self.slot, offset, width, value)
    }

    fn read(&mut self, address: u64, width: Width) -> Result<u64> {
        self.qemu.read(address, width)
    }

    fn write(&mut self, address: u64, width: Width, value: u64) -> Result<()> {
        self.qemu.write(address, width, value)
    }

    fn reset(&mut self) -> Result<()> {
        self.qemu.reset()
    }

    fn settle(&mut self) -> Result<()> {
        self.qemu.settle()
    }
}

/// A device in the model, with as much of a machine around it as takes its messages.
#[derive(Debug)]
pub struct InModel<M> {
    /// The region.
    pub region: Region<M>,
    /// The virtual machine.
    pub peer: PeerId,
    /// The words of RAM that were written.
    ram: HashMap<u64, u32>,
}

impl<M: Memory> InModel<M> {
    /// The device of a virtual machine that is attached to the region.
    pub fn new(region: Region<M>, peer: PeerId) -> Self {
        let ram = HashMap::new();
        Self { region, peer, ram }
    }

    fn take_messages(&mut self) {
        while let Some(interrupt) = self.region.next_interrupt() {
            if interrupt.peer == self.peer {
                let message = interrupt.message;
                self.ram.insert(message.address, message.data);
            }
        }
    }
}

impl<M: Memory> Target for InModel<M> {
    fn config_read(&mut self, offset: u16, width: Width) -> Result<u32> {
        Ok(self.region.config_read(self.peer, offset, width))
    }

    fn config_write(&mut self, offset: u16, width: Width, value: u32) -> Result<()> {
        self.region.config_write(self.peer, offset, width, value);
        self.take_messages();
        Ok(())
    }

    /// What is no BAR is RAM in aligned words, and reads 0 unless it was written.
    fn read(&mut self, address: u64, width: Width) -> Result<u64> {
        Ok(match self.region.read(self.peer, address, width) {
            Some(value) => value,
            None => self.ram.get(&address).copied().unwrap_or(0).into(),
        })
    }

    fn write(&mut self, address: u64, width: Width, value: u64) -> Result<()> {
        let claimed = self.region.write(self.peer, address, width, value);
        if !claimed && address < RAM && width == Width::U32 {
            // CAST: 32 bits wide.
            self.ram.insert(address, value as u32);
        }
        self.take_messages();
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        self.region.reset(self.peer);
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}
