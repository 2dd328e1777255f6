// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One interface to a device under test, whoever emulates it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use ivshmem_model::{AttachError, Memory, PeerId, Region, Width};

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
    world: Rc<RefCell<World<M>>>,
    /// The virtual machine.
    peer: PeerId,
}

/// A region, and its machines' RAM.
#[derive(Debug)]
struct World<M> {
    region: Region<M>,
    /// The words of RAM that were written.
    ram: HashMap<(PeerId, u64), u32>,
}

impl<M: Memory> InModel<M> {
    /// The device of a virtual machine that is attached to the region.
    pub fn new(region: Region<M>, peer: PeerId) -> Self {
        let ram = HashMap::new();
        let world = Rc::new(RefCell::new(World { region, ram }));
        Self { world, peer }
    }

    /// A new virtual machine in the same region.
    pub fn attach(&self, peer: PeerId) -> std::result::Result<Self, AttachError> {
        self.world.borrow_mut().region.attach(peer)?;
        let world = Rc::clone(&self.world);
        Ok(Self { world, peer })
    }

    /// The virtual machine is destroyed.
    pub fn detach(self) {
        let mut world = self.world.borrow_mut();
        world.region.detach(self.peer);
        world.ram.retain(|(peer, _), _| *peer != self.peer);
    }

    /// Does something with the region.
    pub fn with<R>(&mut self, action: impl FnOnce(&mut Region<M>) -> R) -> R {
        let mut world = self.world.borrow_mut();
        let result = action(&mut world.region);
        world.deliver();
        result
    }
}

impl<M: Memory> World<M> {
    fn deliver(&mut self) {
        while let Some(interrupt) = self.region.next_interrupt() {
            let message = interrupt.message;
            self.ram
                .insert((interrupt.peer, message.address), message.data);
        }
    }
}

impl<M: Memory> Target for InModel<M> {
    fn config_read(&mut self, offset: u16, width: Width) -> Result<u32> {
        let peer = self.peer;
        Ok(self.with(|region| region.config_read(peer, offset, width)))
    }

    fn config_write(&mut self, offset: u16, width: Width, value: u32) -> Result<()> {
        let peer = self.peer;
        self.with(|region| region.config_write(peer, offset, width, value));
        Ok(())
    }

    /// What is no BAR is RAM in aligned words, and reads 0 unless it was written.
    fn read(&mut self, address: u64, width: Width) -> Result<u64> {
        let peer = self.peer;
        let word = self.with(|region| region.read(peer, address, width));
        let ram = &self.world.borrow().ram;
        Ok(word.unwrap_or_else(|| ram.get(&(peer, address)).copied().unwrap_or(0).into()))
    }

    fn write(&mut self, address: u64, width: Width, value: u64) -> Result<()> {
        let peer = self.peer;
        let claimed = self.with(|region| region.write(peer, address, width, value));
        if !claimed && address < RAM && width == Width::U32 {
            let ram = &mut self.world.borrow_mut().ram;
            // CAST: 32 bits wide.
            ram.insert((peer, address), value as u32);
        }
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        let peer = self.peer;
        self.with(|region| region.reset(peer));
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}
