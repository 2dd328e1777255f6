// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A region: one shared memory, and a device for each virtual machine that uses it.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use core::fmt;

use ivshmem_abi::pci::{BAR_MEMORY, BAR_MSIX, BAR_REGISTERS};

use crate::event::{Event, Interrupt, Space};
use crate::flavour::{Birth, Flavour, Lost, Outcome, PeerId, Ring};
use crate::function::{Function, ADDRESS_UNIT};
use crate::memory::Memory;
use crate::width::Width;

/// Is told everything that happens in a region, at the moment when it happens.
pub type Observer = Box<dyn FnMut(&Event) + Send>;

/// Why a virtual machine cannot join a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// It is there already: a virtual machine has one device of a region.
    Present(PeerId),
    /// The flavour has no such peer ID.
    OutOfRange(PeerId),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present(peer) => {
                write!(
                    f,
                    "virtual machine {peer} has a device of this region already"
                )
            }
            Self::OutOfRange(peer) => write!(f, "{peer} is no peer ID of this kind of device"),
        }
    }
}

impl core::error::Error for AttachError {}

/// A region with the devices of its virtual machines.
///
/// Nothing here waits, sleeps or does input and output: a call changes the state, and what follows from
/// it for other virtual machines waits in [`Region::next_interrupt`]. Accesses of a virtual machine that is not
/// attached behave as on a bus without the device: reads are all ones, writes vanish.
pub struct Region<M> {
    flavour: Box<dyn Flavour>,
    region_id: u16,
    region_ids: BTreeMap<PeerId, u16>,
    memory: M,
    devices: BTreeMap<PeerId, Function>,
    interrupts: VecDeque<Interrupt>,
    observer: Option<Observer>,
}

impl<M: fmt::Debug> fmt::Debug for Region<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("flavour", &self.flavour)
            .field("region_id", &self.region_id)
            .field("devices", &self.devices)
            .finish_non_exhaustive()
    }
}

impl<M: Memory> Region<M> {
    /// A region without virtual machines.
    ///
    /// # Panics
    ///
    /// If the size of the memory is not a power of two from 16 bytes on: it could not be a BAR.
    pub fn new(flavour: impl Flavour + 'static, memory: M) -> Self {
        assert!(
            memory.len().is_power_of_two() && memory.len() >= ADDRESS_UNIT,
            "the shared memory has {} bytes, which is not a power of two from {ADDRESS_UNIT} on",
            memory.len()
        );
        Self {
            flavour: Box::new(flavour),
            region_id: 0,
            region_ids: BTreeMap::new(),
            memory,
            devices: BTreeMap::new(),
            interrupts: VecDeque::new(),
            observer: None,
        }
    }

    /// The ID that ACRN's flavours show as the subsystem ID. Default: 0.
    pub fn with_region_id(mut self, region_id: u16) -> Self {
        self.region_id = region_id;
        self
    }

    /// Another ID for the device of one virtual machine: each of ACRN's device models is told its own.
    pub fn with_region_id_for(mut self, peer: PeerId, region_id: u16) -> Self {
        self.region_ids.insert(peer, region_id);
        self
    }

    /// Calls `observer` for each event from now on, instead of the one before.
    pub fn observe(&mut self, observer: impl FnMut(&Event) + Send + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// The flavour.
    pub fn flavour(&self) -> &dyn Flavour {
        &*self.flavour
    }

    /// The shared memory, as the host sees it.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The shared memory, as the host sees it.
    pub fn memory_mut(&mut self) -> &mut M {
        &mut self.memory
    }

    /// The device of a virtual machine, for a look at its state.
    pub fn device(&self, peer: PeerId) -> Option<&Function> {
        self.devices.get(&peer)
    }

    /// The virtual machines that are there, in the order of their IDs.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.devices.keys().copied()
    }

    fn birth(&self, peer: PeerId) -> Birth {
        Birth {
            peer,
            memory: self.memory.len(),
            region_id: *self.region_ids.get(&peer).unwrap_or(&self.region_id),
        }
    }

    fn tell(&mut self, event: Event) {
        if let Some(observer) = &mut self.observer {
            observer(&event);
        }
    }

    /// The device that a virtual machine will have once it is attached.
    pub fn create_device(&self, peer: PeerId) -> Result<Function, AttachError> {
        if u32::from(peer) >= self.flavour.peers() {
            return Err(AttachError::OutOfRange(peer));
        }
        if self.devices.contains_key(&peer) {
            return Err(AttachError::Present(peer));
        }
        Ok(self.flavour.create(&self.birth(peer)))
    }

    /// A virtual machine is created: its device is there, as after power-on.
    pub fn attach(&mut self, peer: PeerId) -> Result<(), AttachError> {
        let function = self.create_device(peer)?;
        self.devices.insert(peer, function);
        self.tell(Event::Attached(peer));
        Ok(())
    }

    /// A virtual machine is destroyed. The memory keeps what it has written; interrupts that it has not
    /// been given yet are gone.
    pub fn detach(&mut self, peer: PeerId) {
        if self.devices.remove(&peer).is_some() {
            self.interrupts.retain(|interrupt| interrupt.peer != peer);
            self.tell(Event::Detached(peer));
        }
    }

    /// A virtual machine is reset. The memory keeps what it has written.
    pub fn reset(&mut self, peer: PeerId) {
        let birth = self.birth(peer);
        if let Some(function) = self.devices.get_mut(&peer) {
            self.flavour.reset(function, &birth);
            self.tell(Event::Reset(peer));
        }
    }

    /// The firmware or the hypervisor puts BAR 0, 1 or 2 at a guest physical address, before the guest's
    /// system runs. Other numbers and absent devices are ignored.
    pub fn place_bar(&mut self, peer: PeerId, bar: usize, address: u64) {
        if let Some(function) = self.devices.get_mut(&peer) {
            if function.bars.get(bar).is_some_and(|bar| bar.size > 0) {
                self.flavour.place_bar(function, bar, address);
            }
        }
    }

    /// Reads configuration space: 8, 16 or 32 bits.
    pub fn config_read(&mut self, peer: PeerId, offset: u16, width: Width) -> u32 {
        let value = match self.devices.get(&peer) {
            Some(function) => self.flavour.config_read(function, offset, width),
            None => width.ones(),
        };
        self.tell(Event::Read {
            peer,
            space: Space::Config,
            offset: offset.into(),
            width,
            value,
        });
        // CAST: Configuration accesses have at most 32 bits.
        value as u32
    }

    /// Writes configuration space: 8, 16 or 32 bits.
    pub fn config_write(&mut self, peer: PeerId, offset: u16, width: Width, value: u32) {
        let value = u64::from(value) & width.ones();
        self.tell(Event::Write {
            peer,
            space: Space::Config,
            offset: offset.into(),
            width,
            value,
        });
        if let Some(function) = self.devices.get_mut(&peer) {
            self.flavour.config_write(function, offset, width, value);
        }
        self.collect(peer);
    }

    /// Reads guest physical memory; `None` if no BAR of the device decodes there.
    pub fn read(&mut self, peer: PeerId, address: u64, width: Width) -> Option<u64> {
        let function = self.devices.get(&peer)?;
        let (bar, offset) = function.decode(address, width.bytes())?;
        Some(self.bar_read(peer, bar, offset, width))
    }

    /// Writes guest physical memory; false if no BAR of the device decodes there.
    pub fn write(&mut self, peer: PeerId, address: u64, width: Width, value: u64) -> bool {
        let function = self.devices.get(&peer);
        match function.and_then(|function| function.decode(address, width.bytes())) {
            Some((bar, offset)) => {
                self.bar_write(peer, bar, offset, width, value);
                true
            }
            None => false,
        }
    }

    /// Reads a BAR, wherever it is in the guest's memory. Outside of it everything is all ones.
    pub fn bar_read(&mut self, peer: PeerId, bar: usize, offset: u64, width: Width) -> u64 {
        let Some(function) = answering(&mut self.devices, peer, bar, offset, width) else {
            return width.ones();
        };
        let (space, value) = if bar == BAR_MEMORY as usize {
            let mut bytes = [0; 8];
            self.memory
                .read(offset, &mut bytes[..width.bytes() as usize]);
            return u64::from_le_bytes(bytes);
        } else if bar == BAR_MSIX as usize {
            let value = self.flavour.msix_read(function, offset, width);
            (Space::Msix, value)
        } else {
            let value = self.flavour.register_read(function, offset, width);
            (Space::Registers, value)
        };
        self.tell(Event::Read {
            peer,
            space,
            offset,
            width,
            value,
        });
        value
    }

    /// Writes a BAR, wherever it is in the guest's memory. Outside of it nothing happens.
    pub fn bar_write(&mut self, peer: PeerId, bar: usize, offset: u64, width: Width, value: u64) {
        let value = value & width.ones();
        if answering(&mut self.devices, peer, bar, offset, width).is_none() {
            return;
        }
        if bar == BAR_MEMORY as usize {
            let bytes = value.to_le_bytes();
            self.memory.write(offset, &bytes[..width.bytes() as usize]);
            return;
        }
        let space = match bar == BAR_REGISTERS as usize {
            true => Space::Registers,
            false => Space::Msix,
        };
        self.tell(Event::Write {
            peer,
            space,
            offset,
            width,
            value,
        });
        match space {
            Space::Registers => self.write_registers(peer, offset, width, value),
            _ => {
                if let Some(function) = self.devices.get_mut(&peer) {
                    self.flavour.msix_write(function, offset, width, value);
                }
                self.collect(peer);
            }
        }
    }

    fn write_registers(&mut self, peer: PeerId, offset: u64, width: Width, value: u64) {
        let Some(function) = self.devices.get_mut(&peer) else {
            return;
        };
        // An access of 64 bits is two writes, so it can ring twice.
        let mut rings = [None; 2];
        let mut note = |ring| {
            if let Some(free) = rings.iter_mut().find(|slot| slot.is_none()) {
                *free = Some(ring);
            }
        };
        self.flavour
            .register_write(function, offset, width, value, &mut note);
        for ring in rings.into_iter().flatten() {
            self.ring(peer, ring);
        }
    }

    /// Rings a doorbell as if `from` had written to its register. It need not be attached: this is also how
    /// a host tool rings.
    pub fn ring(&mut self, from: PeerId, ring: Ring) -> Outcome {
        let outcome = match self.devices.get_mut(&ring.peer) {
            Some(function) => self.flavour.interrupt(function, ring.vector),
            None => Outcome::Lost(Lost::NoSuchPeer),
        };
        self.collect(ring.peer);
        self.tell(Event::Ring {
            from,
            to: ring.peer,
            vector: ring.vector,
            outcome,
        });
        outcome
    }

    /// Takes the oldest interrupt that a device has sent.
    pub fn next_interrupt(&mut self) -> Option<Interrupt> {
        self.interrupts.pop_front()
    }

    /// Moves what a device has sent into the queue.
    fn collect(&mut self, peer: PeerId) {
        if let Some(function) = self.devices.get_mut(&peer) {
            let sent = function.outbox.drain(..);
            self.interrupts
                .extend(sent.map(|(vector, message)| Interrupt {
                    peer,
                    vector,
                    message,
                }));
        }
    }
}

/// The device that answers an access to a BAR, if the access lies within the BAR.
fn answering(
    devices: &mut BTreeMap<PeerId, Function>,
    peer: PeerId,
    bar: usize,
    offset: u64,
    width: Width,
) -> Option<&mut Function> {
    let function = devices.get_mut(&peer)?;
    let end = offset.checked_add(width.bytes())?;
    (end <= function.bars.get(bar)?.size).then_some(function)
}
