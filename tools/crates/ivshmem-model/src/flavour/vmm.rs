// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Devices of virtual machine monitors that have nothing behind the doorbell register.
//!
//! Sources: cloud-hypervisor/cloud-hypervisor (August 2026); kvmtool/kvmtool before its commit b4e18c76999b, which
//! removed the device in April 2020; openeuler-mirror/stratovirt (April 2026). Files are named beside what was read in
//! them, each in its monitor's repository.

use ivshmem_abi::pci::{BAR_MEMORY, BAR_MSIX, BAR_REGISTERS};
use ivshmem_abi::regs::MAX_PEER;

use super::qemu::masked;
use super::{make_anew, Birth, Flavour, Lost, Outcome, Qemu, Ring};
use crate::config::{
    offset, Config, BAR_64, BAR_IO, BAR_PREFETCH, CLASS_MEMORY_RAM, COMMAND_MEMORY,
};
use crate::function::{register, Function, BAR_DWORDS};
use crate::msix::Msix;
use crate::width::Width;

/// All are conventional PCI devices.
const CONFIG_SIZE: usize = 256;

/// Cloud Hypervisor: `IVSHMEM_REG_BAR_SIZE` (`devices/src/ivshmem.rs`). StratoVirt: the same name
/// (`devices/src/misc/ivshmem.rs`).
const REGISTERS_SIZE: u64 = 256;

/// A base address register is sized by a write of this.
const SIZING: u32 = u32::MAX;

/// The device of one monitor. Its registers read 0, and no write has an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vmm {
    name: &'static str,
    revision: u8,
    /// Base class and subclass.
    class: u16,
    /// Bits of the command register that software can set.
    command: u16,
    /// Whether BAR0 is I/O ports, and says that there are as many as the memory has bytes.
    ports: bool,
    interrupts: Option<Interrupts>,
    /// Type bits of BAR2.
    memory: u32,
    bars: Bars,
}

/// What a device has of MSI-X.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interrupts {
    vectors: u16,
    /// Bytes of BAR1.
    bar: u64,
    /// Where the pending bits are in it.
    pending: u32,
    /// Whether the host raises them; peers cannot.
    raised: bool,
}

/// What base address registers take, and when a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bars {
    /// As QEMU's.
    Qemu,
    /// Any address, a multiple of the size or not. A BAR decodes from the start; it moves while memory enable is set.
    Any,
    /// Any address; a BAR decodes where the monitor has put it, whatever the register says.
    Fixed,
}

impl Vmm {
    /// Cloud Hypervisor's device.
    pub const CLOUD_HYPERVISOR: Self = Self {
        name: "Cloud Hypervisor",
        // `IvshmemDevice::new` (`devices/src/ivshmem.rs`).
        revision: 1,
        class: CLASS_MEMORY_RAM,
        // `PciConfiguration::new` (`pci/src/configuration.rs`): all of them.
        command: 0xffff,
        // `allocate_bars` (`devices/src/ivshmem.rs`): BAR0 of 32 bits, no BAR1, BAR2 of 64 bits at an address that
        // `AddressAllocator::allocate` (`vm-allocator/src/address.rs`) aligns to 4 bytes.
        ports: false,
        interrupts: None,
        memory: BAR_64 | BAR_PREFETCH,
        // `write_reg` and `write_config_register` (`pci/src/configuration.rs`).
        bars: Bars::Any,
    };

    /// kvmtool's device.
    ///
    /// Left out: the INTx pin, which nothing raises, and that all of configuration space can be overwritten.
    pub const KVMTOOL: Self = Self {
        name: "kvmtool",
        // `pci_shmem_pci_device` (`hw/pci-shmem.c`): no revision, and a class that says "other".
        revision: 0,
        class: 0xff00,
        // `pci__config_wr` (`pci.c`).
        command: 0xffff,
        // `pci_shmem__init` (`hw/pci-shmem.c`): `bar_size[0]` is that of the memory; BAR2 has 32 bits.
        ports: true,
        interrupts: Some(Interrupts {
            // `msix.ctrl` is the number less one.
            vectors: 2,
            // 0x1010 bytes, which no base address register can say.
            bar: 0x2000,
            // `msix.pba_offset`.
            pending: 0x1000,
            // Nobody calls `pci_shmem__get_local_irqfd`.
            raised: false,
        }),
        memory: 0,
        // `pci__config_wr` (`pci.c`) stores what it is given, and moves nothing.
        bars: Bars::Fixed,
    };

    /// StratoVirt's device, which is part of its sound card `ivshmem-scream`. The host interrupts the guest to tell of
    /// changes; see [`Region::ring`](crate::Region::ring).
    ///
    /// Left out: the registers at 240 and 244 for volume and state of the sound.
    pub const STRATOVIRT: Self = Self {
        name: "StratoVirt",
        // `realize` (`devices/src/misc/ivshmem.rs`).
        revision: 1,
        class: CLASS_MEMORY_RAM,
        // `init_common_write_mask` (`devices/src/pci/config.rs`): as QEMU.
        command: 0x0507,
        // `register_bars` (`devices/src/misc/ivshmem.rs`).
        ports: false,
        interrupts: Some(Interrupts {
            // `IVSHMEM_VECTORS_NR` (`devices/src/misc/scream/mod.rs`).
            vectors: 2,
            // `init_msix` (`devices/src/pci/msix.rs`): the pending bits follow the table, in the smallest BAR.
            bar: 0x1000,
            pending: 32,
            // `trigger_msix` (`devices/src/misc/ivshmem.rs`).
            raised: true,
        }),
        memory: BAR_64 | BAR_PREFETCH,
        bars: Bars::Qemu,
    };

    /// The rules of base address registers, and of the MSI-X table in all of them.
    fn qemu(&self) -> Qemu {
        let vectors = self.interrupts.map_or(0, |interrupts| interrupts.vectors);
        Qemu {
            vectors,
            eventfds: vectors,
            needs_master: false,
        }
    }

    /// A write of a whole base address register that takes any address.
    fn write_bar(&self, function: &mut Function, dword: usize, value: u32) {
        function.quirks.written[dword] = Some(value);
        // CAST: A BAR number.
        let number = dword.min(BAR_MEMORY as usize);
        let bar = &function.bars[number];
        let mask = match value {
            SIZING => bar.size_mask(),
            _ => bar.mask(),
        };
        // CAST: The two halves.
        let stored = match dword > number {
            true if bar.flags & BAR_64 == 0 => 0,
            true => value & (mask >> 32) as u32,
            false => value & mask as u32 | bar.flags,
        };
        function.config.set_u32(register(dword), stored);
    }

    /// Moves the BARs whose registers have a new address.
    fn map(&self, function: &mut Function) {
        if self.bars != Bars::Any || !function.config.command(COMMAND_MEMORY) {
            return;
        }
        for number in 0..function.bars.len() {
            let bar = &function.bars[number];
            if bar.size == 0 || bar.flags & BAR_IO != 0 {
                continue;
            }
            let halves = number..number + 1 + usize::from(bar.flags & BAR_64 != 0);
            let sized = function.quirks.written[halves].contains(&Some(SIZING));
            if !sized {
                function.bars[number].mapped = Some(function.base(number));
            }
        }
    }
}

impl Flavour for Vmm {
    fn name(&self) -> &'static str {
        self.name
    }

    /// Any number of machines can be given the same memory.
    fn peers(&self) -> u32 {
        MAX_PEER + 1
    }

    fn create(&self, birth: &Birth) -> Function {
        let mut config = Config::new(CONFIG_SIZE);
        config.set_u8(offset::REVISION, self.revision);
        config.set_u16(offset::CLASS, self.class);
        config.allow_u16(offset::COMMAND, self.command);
        config.allow(offset::CACHE_LINE, 1, 0xff);
        config.allow(offset::INTERRUPT_LINE, 1, 0xff);
        let mut function = Function::new(config);
        match self.ports {
            true => function.add_bar(BAR_REGISTERS, birth.memory, BAR_IO),
            false => function.add_registers(REGISTERS_SIZE),
        }
        if let Some(interrupts) = self.interrupts {
            let Interrupts {
                vectors, pending, ..
            } = interrupts;
            function.config.add_msix(vectors, pending);
            function.msix = Some(Msix::new(vectors, pending));
            function.add_msix_bar(interrupts.bar);
        }
        function.add_bar(BAR_MEMORY, birth.memory, self.memory);
        match self.bars {
            Bars::Qemu => function.allow_bars(),
            _ => {
                for bar in &mut function.bars {
                    bar.any_address = true;
                }
            }
        }
        function
    }

    fn place_bar(&self, function: &mut Function, bar: usize, address: u64) {
        function.quirks.placed[bar] = Some(address);
        if self.bars == Bars::Qemu {
            return self.qemu().place_bar(function, bar, address);
        }
        function.set_base(bar, address);
        let ports = function.bars[bar].flags & BAR_IO != 0;
        function.bars[bar].mapped = (!ports).then(|| function.base(bar));
    }

    /// A machine that starts again has a new device.
    fn reset(&self, function: &mut Function, birth: &Birth) {
        make_anew(self, function, birth);
    }

    fn config_write(&self, function: &mut Function, offset: u16, width: Width, value: u64) {
        if self.bars == Bars::Qemu {
            return self.qemu().config_write(function, offset, width, value);
        }
        let dword = offset
            .checked_sub(offset::BAR)
            .map(|at| usize::from(at / 4));
        match dword {
            Some(dword) if dword < BAR_DWORDS => {
                if width == Width::U32 && width.aligned(offset.into()) {
                    // CAST: A write of 32 bits.
                    self.write_bar(function, dword, value as u32);
                }
            }
            _ => function.config.write(offset, width, value),
        }
        self.map(function);
    }

    /// Cloud Hypervisor: `read_bar` (`devices/src/ivshmem.rs`). kvmtool: `shmem_pci__io_in` (`hw/pci-shmem.c`), whose
    /// `local_id` nobody sets. StratoVirt: `reg_read` in `register_bars` (`devices/src/misc/ivshmem.rs`).
    fn register_read(&self, _: &mut Function, _: u64, _: Width) -> u64 {
        0
    }

    /// Cloud Hypervisor: `write_bar` warns. kvmtool: `shmem_pci__io_out`; nobody calls `pci_shmem__add_client`.
    /// StratoVirt: `reg_write` in `register_bars`.
    fn register_write(&self, _: &mut Function, _: u64, _: Width, _: u64, _: &mut dyn FnMut(Ring)) {}

    fn msix_read(&self, function: &mut Function, offset: u64, width: Width) -> u64 {
        self.qemu().msix_read(function, offset, width)
    }

    fn msix_write(&self, function: &mut Function, offset: u64, width: Width, value: u64) {
        self.qemu().msix_write(function, offset, width, value);
    }

    /// The host raises a vector. StratoVirt: `notify` (`devices/src/pci/msix.rs`), which keeps what comes while MSI-X
    /// is off, and does not look at the bus master bit; nor do `table_write` and `write_config`, which send what was kept.
    fn interrupt(&self, function: &mut Function, vector: u16) -> Outcome {
        let raised = self.interrupts.is_some_and(|interrupts| interrupts.raised);
        let Some(msix) = function.msix.as_mut().filter(|_| raised) else {
            return Outcome::Lost(Lost::NoDoorbell);
        };
        if vector >= msix.vectors() {
            return Outcome::Lost(Lost::NoSuchVector);
        }
        if masked(&function.config, msix, vector) {
            msix.set_pending(vector, true);
            return Outcome::Pending;
        }
        function.send(vector);
        Outcome::Sent
    }
}

// Table and pending bits are in the BAR that `Config::add_msix` names.
const _: () = assert!(BAR_MSIX == 1);
