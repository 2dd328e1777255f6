// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! ACRN's device in the hypervisor, "hv-land".
//!
//! Source: acrn-hypervisor's `hypervisor/dm/vpci/ivshmem.c`, `vdev.c`, `vmsix.c` and `vpci.c`.

use ivshmem_abi::regs::{DOORBELL, INTR_MASK, INTR_STATUS, IV_POSITION};

use super::{make_anew, Birth, Flavour, Lost, Outcome, PeerId, Ring};
use crate::config::{offset, Config, BAR_PREFETCH, MULTI_FUNCTION};
use crate::function::{register, Function, Registers, BAR_DWORDS};
use crate::msix::{self, Msix, ENTRY};
use crate::width::Width;

/// `vpci.c`: configuration space is a plain array of 4096 bytes.
const CONFIG_SIZE: usize = 4096;

/// `IVSHMEM_MSIX_BAR`'s size, `MAX_IVSHMEM_MSIX_TBL_ENTRY_NUM` and the place of the pending bits.
const MSIX_BAR_SIZE: u64 = 4096;
const VECTORS: u16 = 8;
const PBA: u32 = 0x800;

/// `MAX_VM_NUM`, by default.
const PEERS: u32 = 16;

/// Subsystem vendor since release 3.3.
const INTEL: u16 = 0x8086;

/// A base address register is sized by a write of exactly this.
const SIZING: u32 = u32::MAX;

/// What IVPosition holds once BAR0 has been mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The virtual machine's ID.
    Kept,
    /// 0: `ivshmem_vbar_map` clears all registers (acrn-hypervisor issue 8485).
    ZeroedByMapping,
}

/// ACRN's hv-land device of one release, as function 0: others do not say that there are more functions.
///
/// Left out: 2.3 and 2.4 answer a narrow read of a base address register with its lowest bytes, and up to 3.0 accesses
/// of the MSI-X table need not be aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcrnHv {
    registers_size: u64,
    position: Position,
    subsystem: bool,
    /// Whether what follows the MSI-X table is read in any width.
    narrow: bool,
}

impl AcrnHv {
    /// Release 3.3 and later.
    pub const V3_3: Self = Self {
        registers_size: 256,
        position: Position::Kept,
        subsystem: true,
        narrow: true,
    };

    /// Releases 2.4 to 3.2: no region ID, and IVPosition is lost.
    pub const V2_4: Self = Self {
        registers_size: 256,
        position: Position::ZeroedByMapping,
        subsystem: false,
        narrow: false,
    };

    /// Release 2.3, the first with doorbells: BAR0 has 4096 bytes.
    pub const V2_3: Self = Self {
        registers_size: 4096,
        ..Self::V2_4
    };

    /// `vpci_write_bar`: any write, of any width, is one of a whole register.
    fn write_bar(&self, function: &mut Function, dword: usize, value: u32) {
        function.quirks.written[dword] = Some(value);
        let bar = dword.min(2);
        let mask = function.bars[bar].mask();
        // CAST: The two halves.
        let stored = match dword {
            3 => value & (mask >> 32) as u32,
            _ => value & mask as u32 | function.bars[bar].flags,
        };
        function.config.set_u32(register(dword), stored);
        let halves = &function.quirks.written[bar..if bar == 2 { BAR_DWORDS } else { bar + 1 }];
        let base = match halves.contains(&Some(SIZING)) {
            true => 0,
            false => function.base(bar),
        };
        function.bars[bar].mapped = (base != 0).then_some(base);
        if bar == 0 && base != 0 && self.position == Position::ZeroedByMapping {
            function.registers = Registers::default();
        }
    }
}

/// The register that an access is for; all but aligned 32-bit ones do nothing (`ivshmem_mmio_handler`).
fn register_offset(offset: u64, width: Width) -> Option<usize> {
    let offset = usize::try_from(offset).ok()?;
    (width == Width::U32 && matches!(offset, INTR_MASK | INTR_STATUS | IV_POSITION | DOORBELL))
        .then_some(offset)
}

/// Leaves the value of a read behind for a later read that has none (`vmx_io.c` does not clear it).
fn leave(function: &mut Function, value: u64) -> u64 {
    function.quirks.stale = value;
    value
}

impl Flavour for AcrnHv {
    fn name(&self) -> &'static str {
        "ACRN hv-land"
    }

    fn peers(&self) -> u32 {
        PEERS
    }

    /// `init_ivshmem_vdev`. All of configuration space is plain memory except the base address registers
    /// and the capability; the base address registers hold addresses that do not decode yet.
    fn create(&self, birth: &Birth) -> Function {
        let mut config = Config::new(CONFIG_SIZE);
        config.allow(0, CONFIG_SIZE as u16, 0xff);
        if self.subsystem {
            config.set_u16(offset::SUBSYSTEM_VENDOR, INTEL);
            config.set_u16(offset::SUBSYSTEM, birth.region_id);
            config.set_u8(offset::HEADER_TYPE, MULTI_FUNCTION);
        }
        config.add_msix(VECTORS, PBA);
        let mut function = Function::new(config);
        function.msix = Some(Msix::new(VECTORS, PBA));
        function.add_registers(self.registers_size);
        function.add_msix_bar(MSIX_BAR_SIZE);
        function.add_memory(birth.memory, BAR_PREFETCH);
        function.registers.position = birth.peer.into();
        function
    }

    /// `init_ivshmem_bar`: stored, not mapped.
    fn place_bar(&self, function: &mut Function, bar: usize, address: u64) {
        function.set_base(bar, address);
        function.quirks.placed[bar] = Some(address);
    }

    /// The virtual machine is made anew, and its device with it: no guest action resets a device.
    fn reset(&self, function: &mut Function, birth: &Birth) {
        make_anew(self, function, birth);
    }

    /// `vpci_pio_cfgdata_read` and `vpci_mmio_cfg_access`.
    fn config_read(&self, function: &Function, offset: u16, width: Width) -> u64 {
        match width.aligned(offset.into()) {
            true => function.config.read(offset, width),
            false => width.ones(),
        }
    }

    /// `write_ivshmem_vdev_cfg`.
    fn config_write(&self, function: &mut Function, offset: u16, width: Width, value: u64) {
        if !width.aligned(offset.into()) {
            return;
        }
        match offset
            .checked_sub(offset::BAR)
            .map(|at| usize::from(at / 4))
        {
            // CAST: Configuration accesses have at most 32 bits.
            Some(dword) if dword < BAR_DWORDS => self.write_bar(function, dword, value as u32),
            _ => function.config.write(offset, width, value),
        }
    }

    fn register_read(&self, function: &mut Function, offset: u64, width: Width) -> u64 {
        let Registers {
            mask,
            status,
            position,
        } = function.registers;
        let value = match register_offset(offset, width) {
            None => return function.quirks.stale & width.ones(),
            Some(INTR_MASK) => mask,
            Some(INTR_STATUS) => status,
            Some(IV_POSITION) => position,
            Some(_) => 0,
        };
        leave(function, value.into())
    }

    fn register_write(
        &self,
        function: &mut Function,
        offset: u64,
        width: Width,
        value: u64,
        ring: &mut dyn FnMut(Ring),
    ) {
        // CAST: Only 32-bit accesses do something.
        let value = value as u32;
        match register_offset(offset, width) {
            Some(INTR_MASK) => function.registers.mask = value,
            Some(INTR_STATUS) => function.registers.status = value,
            Some(DOORBELL) => ring(Ring {
                // CAST: `union ivshmem_doorbell`: two halves of 16 bits.
                peer: (value >> 16) as PeerId,
                vector: value as u16,
            }),
            _ => {}
        }
    }

    /// `rw_vmsix_table`: the table by aligned 32 and 64 bits; what follows, pending bits included, reads 0.
    fn msix_read(&self, function: &mut Function, offset: u64, width: Width) -> u64 {
        let narrow = self.narrow && offset >= u64::from(VECTORS) * ENTRY;
        if (width < Width::U32 && !narrow) || !width.aligned(offset) {
            return function.quirks.stale & width.ones();
        }
        let mut word = |offset| {
            let word = function.msix.as_mut()?.table_word(offset)?;
            Some(u64::from(*word))
        };
        let low = word(offset).unwrap_or(0);
        let high = word(offset + 4).unwrap_or(0);
        leave(function, (high << 32 | low) & width.ones())
    }

    fn msix_write(&self, function: &mut Function, offset: u64, width: Width, value: u64) {
        if width < Width::U32 || !width.aligned(offset) {
            return;
        }
        for at in (0..width.bytes()).step_by(4) {
            let msix = function.msix.as_mut();
            if let Some(word) = msix.and_then(|msix| msix.table_word(offset + at)) {
                // CAST: The half that belongs there.
                *word = (value >> (at * 8)) as u32;
            }
        }
    }

    /// `ivshmem_server_notify_peer`.
    fn interrupt(&self, function: &mut Function, vector: u16) -> Outcome {
        let lost = match &function.msix {
            None => Lost::NoDoorbell,
            Some(_) if !msix::unmasked(&function.config) => Lost::Disabled,
            Some(msix) if vector >= msix.vectors() => Lost::NoSuchVector,
            Some(msix) if msix.entry_masked(vector) => Lost::Masked,
            Some(_) => {
                function.send(vector);
                return Outcome::Sent;
            }
        };
        Outcome::Lost(lost)
    }
}

// The table ends where the capability says.
const _: () = assert!(VECTORS as u64 * ENTRY <= PBA as u64);
