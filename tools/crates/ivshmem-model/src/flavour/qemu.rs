// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! QEMU's `ivshmem-plain` and `ivshmem-doorbell`, revision 1.
//!
//! Source: QEMU's `hw/misc/ivshmem-pci.c`, `hw/pci/pci.c`, `hw/pci/msix.c` and `system/memory.c`.

use ivshmem_abi::pci::BAR_REGISTERS;
use ivshmem_abi::regs::{DOORBELL, INTR_MASK, INTR_STATUS, IV_POSITION, MAX_PEER, MAX_RING_VECTOR};

use super::{Birth, Flavour, Lost, Outcome, PeerId, Ring};
use crate::config::{offset, Config, BAR_64, BAR_PREFETCH, COMMAND_MASTER, COMMAND_MEMORY};
use crate::function::Function;
use crate::msix::{self, Msix, ENTRY};
use crate::width::{pieces, Width};

/// `PCI_CONFIG_SPACE_SIZE`: the device is a conventional one.
const CONFIG_SIZE: usize = 256;

/// `ivshmem_common_realize`: BAR0 is 256 bytes.
const REGISTERS_SIZE: u64 = 256;

/// `pci_default_sub_vendor_id` and `pci_default_sub_device_id`.
const SUBSYSTEM: (u16, u16) = (0x1af4, 0x1100);

/// `pci_init_wmask`: I/O, memory, bus master, SERR and INTx disable can be set.
const COMMAND_WRITABLE: u16 = 0x0507;

/// `msix_init_exclusive_bar`: BAR1 has 4 KiB, with the pending bits in its middle, if the table leaves
/// room for that.
const MSIX_BAR_SIZE: u32 = 4096;

/// QEMU's device; without vectors it is `ivshmem-plain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qemu {
    pub(super) vectors: u16,
    /// Vectors of each virtual machine for which there is an eventfd.
    pub(super) eventfds: u16,
    /// Whether a message is lost while the bus master bit is clear.
    pub(super) needs_master: bool,
}

impl Qemu {
    /// Most vectors of a device: the size that the MSI-X capability can express.
    pub const MAX_VECTORS: u16 = 2048;

    /// `ivshmem-plain`: memory only.
    pub const fn plain() -> Self {
        Self {
            vectors: 0,
            eventfds: 0,
            needs_master: true,
        }
    }

    /// `ivshmem-doorbell` with this many vectors, or `None` if QEMU would refuse them.
    pub const fn doorbell(vectors: u16) -> Option<Self> {
        if vectors == 0 || vectors > Self::MAX_VECTORS {
            return None;
        }
        Some(Self {
            vectors,
            eventfds: vectors,
            needs_master: true,
        })
    }

    /// The same where the server gives each virtual machine no more than so many eventfds: rings of the other
    /// vectors are lost.
    pub const fn with_eventfds(self, eventfds: u16) -> Self {
        Self { eventfds, ..self }
    }

    /// `msix_handle_mask_update`: a pending vector that is not masked any more is sent.
    fn send_unmasked(self, function: &mut Function, vector: u16, was_masked: bool) {
        let Some(msix) = &function.msix else { return };
        if was_masked && !masked(&function.config, msix, vector) && msix.is_pending(vector) {
            if let Some(msix) = &mut function.msix {
                msix.set_pending(vector, false);
            }
            if self.may_send(function) {
                function.send(vector);
            }
        }
    }

    /// Whether messages arrive.
    fn may_send(self, function: &Function) -> bool {
        !self.needs_master || function.config.command(COMMAND_MASTER)
    }

    /// Size of BAR1 and offset of the pending bits in it.
    fn msix_bar(self) -> (u64, u32) {
        let table = u32::from(self.vectors) * ENTRY as u32;
        let pba = table.max(MSIX_BAR_SIZE / 2);
        let end = pba + u32::from(self.vectors).div_ceil(64) * 8;
        (end.max(MSIX_BAR_SIZE).next_power_of_two().into(), pba)
    }
}

/// `msix_is_masked`.
pub(super) fn masked(config: &Config, msix: &Msix, vector: u16) -> bool {
    !msix::unmasked(config) || msix.entry_masked(vector)
}

/// `pci_bar_address`: where a BAR decodes, if it does.
fn mapped(function: &Function, bar: usize) -> Option<u64> {
    if !function.config.command(COMMAND_MEMORY) || function.bars[bar].size == 0 {
        return None;
    }
    let base = function.base(bar);
    let last = base.checked_add(function.bars[bar].size - 1)?;
    let limit = match function.bars[bar].flags & BAR_64 {
        0 => u64::from(u32::MAX),
        _ => u64::MAX,
    };
    (base != 0 && last < limit).then_some(base)
}

fn map(function: &mut Function) {
    for bar in 0..function.bars.len() {
        function.bars[bar].mapped = mapped(function, bar);
    }
}

/// `ivshmem_io_read`: one call with an offset that may not be a register's first byte.
fn read_register(function: &mut Function, offset: u64) -> u32 {
    let registers = &mut function.registers;
    match usize::try_from(offset) {
        Ok(INTR_MASK) => registers.mask,
        Ok(INTR_STATUS) => core::mem::take(&mut registers.status),
        Ok(IV_POSITION) => registers.position,
        _ => 0,
    }
}

/// `ivshmem_io_write`: the offset is rounded down to a register.
fn write_register(function: &mut Function, offset: u64, value: u32, ring: &mut dyn FnMut(Ring)) {
    match usize::try_from(offset & !3) {
        Ok(INTR_MASK) => function.registers.mask = value,
        Ok(INTR_STATUS) => function.registers.status = value,
        Ok(DOORBELL) => ring(Ring {
            // CAST: The upper and the lower bits of the register.
            peer: (value >> 16) as PeerId,
            vector: (value & MAX_RING_VECTOR) as u16,
        }),
        _ => {}
    }
}

impl Flavour for Qemu {
    fn name(&self) -> &'static str {
        match self.vectors {
            0 => "QEMU ivshmem-plain",
            _ => "QEMU ivshmem-doorbell",
        }
    }

    fn peers(&self) -> u32 {
        MAX_PEER + 1
    }

    fn create(&self, birth: &Birth) -> Function {
        let mut config = Config::new(CONFIG_SIZE);
        config.set_u16(offset::SUBSYSTEM_VENDOR, SUBSYSTEM.0);
        config.set_u16(offset::SUBSYSTEM, SUBSYSTEM.1);
        config.allow_u16(offset::COMMAND, COMMAND_WRITABLE);
        config.allow(offset::CACHE_LINE, 1, 0xff);
        config.allow(offset::INTERRUPT_LINE, 1, 0xff);
        // `pci_init_wmask`: what follows the header is writable, except for capabilities.
        config.allow(offset::MSIX, CONFIG_SIZE as u16 - offset::MSIX, 0xff);
        let mut function = Function::new(config);
        function.add_registers(REGISTERS_SIZE);
        if self.vectors > 0 {
            let (size, pba) = self.msix_bar();
            function.config.add_msix(self.vectors, pba);
            function.msix = Some(Msix::new(self.vectors, pba));
            function.add_msix_bar(size);
            function.registers.position = birth.peer.into();
        }
        function.add_memory(birth.memory, BAR_PREFETCH);
        function.allow_bars();
        function
    }

    fn place_bar(&self, function: &mut Function, bar: usize, address: u64) {
        function.set_base(bar, address);
        map(function);
    }

    /// `pci_do_device_reset`, `msix_reset` and `ivshmem_reset`. The peer ID stays.
    fn reset(&self, function: &mut Function, _birth: &Birth) {
        for (offset, len) in [
            (offset::COMMAND, 2),
            (offset::CACHE_LINE, 1),
            (offset::INTERRUPT_LINE, 1),
        ] {
            function.config.clear_writable(offset, len);
        }
        for bar in 0..function.bars.len() {
            if function.bars[bar].size > 0 {
                function.set_base(bar, 0);
            }
        }
        if let Some(msix) = &mut function.msix {
            function.config.clear_writable(offset::MSIX_CONTROL, 2);
            msix.reset();
        }
        function.registers.mask = 0;
        function.registers.status = 0;
        map(function);
    }

    /// `pci_default_write_config` and `msix_write_config`.
    fn config_write(&self, function: &mut Function, offset: u16, width: Width, value: u64) {
        let was_unmasked = msix::unmasked(&function.config);
        function.config.write(offset, width, value);
        map(function);
        if !was_unmasked && function.msix.is_some() {
            for vector in 0..self.vectors {
                self.send_unmasked(function, vector, true);
            }
        }
    }

    fn register_read(&self, function: &mut Function, offset: u64, width: Width) -> u64 {
        pieces(offset, width, Width::U32).fold(0, |value, piece| {
            let register = u64::from(read_register(function, piece.offset));
            value | (register & piece.width.ones()) << piece.shift
        })
    }

    fn register_write(
        &self,
        function: &mut Function,
        offset: u64,
        width: Width,
        value: u64,
        ring: &mut dyn FnMut(Ring),
    ) {
        for piece in pieces(offset, width, Width::U32) {
            let value = value >> piece.shift & piece.width.ones();
            // CAST: At most 32 bits wide.
            write_register(function, piece.offset, value as u32, ring);
        }
    }

    /// `msix_table_mmio_ops`, `msix_pba_mmio_ops`: 32 and 64 bits; the rest of the BAR reads 0.
    fn msix_read(&self, function: &mut Function, offset: u64, width: Width) -> u64 {
        let Some(msix) = &mut function.msix else {
            return width.ones();
        };
        pieces(offset, width, Width::U32).fold(0, |value, piece| {
            let word = match piece.width {
                Width::U32 => match msix.pending_word(piece.offset) {
                    Some(word) => word,
                    None => msix.table_word(piece.offset).copied().unwrap_or(0),
                },
                _ => 0,
            };
            value | u64::from(word) << piece.shift
        })
    }

    fn msix_write(&self, function: &mut Function, offset: u64, width: Width, value: u64) {
        for piece in pieces(offset, width, Width::U32) {
            // CAST: Below the number of vectors if the offset is in the table.
            let vector = (piece.offset / ENTRY) as u16;
            let Some(msix) = &function.msix else { return };
            if piece.width != Width::U32 || vector >= msix.vectors() {
                continue;
            }
            let was_masked = masked(&function.config, msix, vector);
            let msix = function.msix.as_mut();
            if let Some(word) = msix.and_then(|msix| msix.table_word(piece.offset)) {
                // CAST: The half that this piece is.
                *word = (value >> piece.shift) as u32;
            }
            self.send_unmasked(function, vector, was_masked);
        }
    }

    /// `ivshmem_vector_notify` and `msix_notify`.
    fn interrupt(&self, function: &mut Function, vector: u16) -> Outcome {
        let Some(msix) = &function.msix else {
            return Outcome::Lost(Lost::NoDoorbell);
        };
        // The device of who rings looks how many it was given, and knows no more than it has itself.
        if vector >= msix.vectors().min(self.eventfds) {
            return Outcome::Lost(Lost::NoSuchVector);
        }
        if !msix::enabled(&function.config) {
            return Outcome::Lost(Lost::Disabled);
        }
        if masked(&function.config, msix, vector) {
            if let Some(msix) = &mut function.msix {
                msix.set_pending(vector, true);
            }
            return Outcome::Pending;
        }
        if !self.may_send(function) {
            return Outcome::Lost(Lost::NotMaster);
        }
        function.send(vector);
        Outcome::Sent
    }
}

// BAR0 exists in every flavour, at the number that the register offsets belong to.
const _: () = assert!(BAR_REGISTERS == 0);
