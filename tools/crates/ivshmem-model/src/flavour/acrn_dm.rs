// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! ACRN's device in the device model, "dm-land".
//!
//! Source: acrn-hypervisor's `devicemodel/hw/pci/ivshmem.c` and `devicemodel/hw/pci/core.c`.

use ivshmem_abi::pci::{BAR_MEMORY, BAR_MSIX, BAR_REGISTERS};
use ivshmem_abi::regs::{DOORBELL, INTR_MASK, INTR_STATUS, IV_POSITION};

use super::{make_anew, Birth, Flavour, Lost, Outcome, PeerId, Ring};
use crate::config::{offset, Config, BAR_PREFETCH, COMMAND_MASTER, COMMAND_MEMORY, MULTI_FUNCTION};
use crate::function::{register, Function, BAR_DWORDS};
use crate::width::{pieces, Width};

/// Configuration space, of which the first 256 bytes are the device's (`pci_cfgrw`).
const CONFIG_SIZE: usize = 4096;
const EXTENDED: usize = 256;

/// `pci_ivshmem_init`.
const REGISTERS_SIZE: u64 = 256;
const MSIX_BAR_SIZE: u64 = 4096;
const INTEL: u16 = 0x8086;

/// `pci_emul_add_bar`: above this size, or with OVMF, memory is prefetchable and above 4 GiB.
const SMALL: u64 = 32 << 20;

/// `pci_emul_init`: I/O, memory and bus master are on from the start; `pci_emul_cmd_changed`'s mask.
const COMMAND_IO: u16 = 1;
const COMMAND_WRITABLE: u16 = 0x077f;

/// `MAX_VM_NUM`, by default.
const PEERS: u32 = 16;

/// ACRN's dm-land device.
///
/// Left out: a BAR of registers that is sized and moved while memory enable is set answers nowhere until memory enable
/// is cleared and set again (`update_bar_address`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcrnDm {
    /// Whether the guest is booted with `--ovmf`: then BAR2 is always prefetchable.
    pub ovmf: bool,
    /// Whether the release is 3.3 or later and shows the region ID as the subsystem.
    pub subsystem: bool,
}

impl AcrnDm {
    /// Release 3.3 and later, booted without OVMF.
    pub const V3_3: Self = Self {
        ovmf: false,
        subsystem: true,
    };

    /// Releases 2.0 to 3.2, booted without OVMF.
    pub const V2_0: Self = Self {
        ovmf: false,
        subsystem: false,
    };
}

/// BAR0 and BAR1 follow their registers; the memory stays where it was mapped first
/// (`pci_ivshmem_init` maps it once, and moving it is not implemented).
fn map(function: &mut Function) {
    for bar in [BAR_REGISTERS as usize, BAR_MSIX as usize] {
        let base = function.base(bar);
        let on = function.config.command(COMMAND_MEMORY) && base != 0;
        function.bars[bar].mapped = on.then_some(base);
    }
    function.bars[BAR_MEMORY as usize].mapped = function.quirks.placed[BAR_MEMORY as usize];
}

impl Flavour for AcrnDm {
    fn name(&self) -> &'static str {
        "ACRN dm-land"
    }

    fn peers(&self) -> u32 {
        PEERS
    }

    fn create(&self, birth: &Birth) -> Function {
        let mut config = Config::new(CONFIG_SIZE);
        if self.subsystem {
            config.set_u16(offset::SUBSYSTEM_VENDOR, INTEL);
            config.set_u16(offset::SUBSYSTEM, birth.region_id);
        }
        config.set_u16(
            offset::COMMAND,
            COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER,
        );
        config.set_u8(offset::INTERRUPT_LINE, 0xff);
        // `CFGWRITE`: everything but command, status, base addresses and ROM is plain memory; see `config_write`.
        config.allow(0, EXTENDED as u16, 0xff);
        config.allow_u16(offset::COMMAND, COMMAND_WRITABLE);
        config.allow_u16(offset::STATUS, 0);
        config.allow(offset::BAR, 6 * 4, 0);
        // `pci_emul_hdrtype_fixup`: whether there are more functions is not what the device says.
        config.allow(offset::HEADER_TYPE, 1, !MULTI_FUNCTION);
        // Of the extended space only the first header reads 0, which ends the list there.
        for at in (EXTENDED + 4)..CONFIG_SIZE {
            // CAST: Below 4096.
            config.set_u8(at as u16, 0xff);
        }
        let mut function = Function::new(config);
        function.add_registers(REGISTERS_SIZE);
        function.add_msix_bar(MSIX_BAR_SIZE);
        let prefetch = match self.ovmf || birth.memory > SMALL {
            true => BAR_PREFETCH,
            false => 0,
        };
        function.add_memory(birth.memory, prefetch);
        function
    }

    fn place_bar(&self, function: &mut Function, bar: usize, address: u64) {
        function.set_base(bar, address);
        function.quirks.placed[bar] = Some(function.base(bar));
        map(function);
    }

    /// The device model ends and starts again, and puts everything where it was.
    fn reset(&self, function: &mut Function, birth: &Birth) {
        make_anew(self, function, birth);
    }

    /// `pci_cfgrw`.
    fn config_read(&self, function: &Function, offset: u16, width: Width) -> u64 {
        match width.aligned(offset.into()) {
            true => function.config.read(offset, width),
            false => width.ones(),
        }
    }

    /// `pci_cfgrw`: base address registers take 32-bit writes only, and that of the ROM none that begins with it.
    fn config_write(&self, function: &mut Function, offset: u16, width: Width, value: u64) {
        if !width.aligned(offset.into()) {
            return;
        }
        let dword = offset
            .checked_sub(offset::BAR)
            .map(|at| usize::from(at / 4));
        match dword {
            Some(dword) if dword < BAR_DWORDS => {
                if width == Width::U32 {
                    let bar = &function.bars[dword.min(2)];
                    // CAST: The two halves, and a write of at most 32 bits.
                    let stored = match dword {
                        3 => value as u32 & (bar.mask() >> 32) as u32,
                        _ => value as u32 & bar.mask() as u32 | bar.flags,
                    };
                    function.config.set_u32(register(dword), stored);
                }
            }
            _ if offset == offset::ROM => {}
            _ => function.config.write(offset, width, value),
        }
        map(function);
    }

    /// `pci_ivshmem_read`: what is no register reads all ones, the doorbell too.
    fn register_read(&self, _: &mut Function, offset: u64, width: Width) -> u64 {
        match (usize::try_from(offset), width) {
            // `pci_emul_mem_handler`: 64 bits are two times 32.
            (_, Width::U64) => pieces(0, width, Width::U32).fold(0, |value, piece| {
                let word = match usize::try_from(offset + piece.offset) {
                    Ok(INTR_MASK | INTR_STATUS | IV_POSITION) => 0,
                    _ => Width::U32.ones(),
                };
                value | word << piece.shift
            }),
            (Ok(INTR_MASK | INTR_STATUS | IV_POSITION), _) => 0,
            _ => width.ones(),
        }
    }

    /// `pci_ivshmem_write`: a doorbell is decoded for the host's log, and that is all.
    fn register_write(
        &self,
        _: &mut Function,
        offset: u64,
        width: Width,
        value: u64,
        ring: &mut dyn FnMut(Ring),
    ) {
        let value = match usize::try_from(offset) {
            Ok(DOORBELL) => value,
            Ok(IV_POSITION) if width == Width::U64 => value >> 32,
            _ => return,
        };
        ring(Ring {
            peer: (value >> 16 & 0xff) as PeerId,
            vector: (value & 0xff) as u16,
        });
    }

    /// Nothing stands behind BAR1.
    fn msix_read(&self, _: &mut Function, _: u64, width: Width) -> u64 {
        width.ones()
    }

    fn msix_write(&self, _: &mut Function, _: u64, _: Width, _: u64) {}

    fn interrupt(&self, _: &mut Function, _: u16) -> Outcome {
        Outcome::Lost(Lost::NoDoorbell)
    }
}
