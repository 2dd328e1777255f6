// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The devices of Cloud Hypervisor, kvmtool and StratoVirt, rule by rule.

use ivshmem_model::config::{offset, COMMAND_MEMORY, MSIX_ENABLE};
use ivshmem_model::flavour::{Lost, Outcome, Ring, Vmm};
use ivshmem_model::{Region, Width};

const SIZE: u64 = 1 << 20;
const VM: u16 = 0;
const ALL: [Vmm; 3] = [Vmm::CLOUD_HYPERVISOR, Vmm::KVMTOOL, Vmm::STRATOVIRT];

fn region(flavour: Vmm) -> Region<Vec<u8>> {
    let mut region = Region::new(flavour, vec![0; SIZE as usize]);
    region.attach(VM).unwrap();
    region
}

fn config(region: &mut Region<Vec<u8>>, offset: u16) -> u32 {
    region.config_read(VM, offset, Width::U32)
}

/// What a register says after all ones were written to it.
fn sized(region: &mut Region<Vec<u8>>, offset: u16) -> u32 {
    region.config_write(VM, offset, Width::U32, u32::MAX);
    config(region, offset)
}

fn raise(region: &mut Region<Vec<u8>>, vector: u16) -> Outcome {
    region.ring(VM, Ring { peer: VM, vector })
}

#[test]
fn identity_and_capabilities() {
    for (flavour, class, capabilities, control) in [
        (Vmm::CLOUD_HYPERVISOR, 0x0500_0001, 0, 0),
        (Vmm::KVMTOOL, 0xff00_0000, 0x40, 1),
        (Vmm::STRATOVIRT, 0x0500_0001, 0x40, 1),
    ] {
        let mut region = region(flavour);
        assert_eq!(config(&mut region, offset::VENDOR), 0x1110_1af4);
        assert_eq!(config(&mut region, offset::REVISION), class);
        assert_eq!(config(&mut region, offset::SUBSYSTEM_VENDOR), 0);
        assert_eq!(config(&mut region, offset::CAPABILITIES), capabilities);
        let vectors_less_one = region.config_read(VM, offset::MSIX_CONTROL, Width::U16);
        assert_eq!(vectors_less_one, control, "{flavour:?}");
    }
}

/// Type and size of each BAR, as software finds them.
#[test]
fn base_address_registers() {
    for (flavour, registers) in [
        (
            Vmm::CLOUD_HYPERVISOR,
            [0xffff_ff00, 0, 0xfff0_000c, u32::MAX],
        ),
        // As many ports as the memory has bytes; BAR2 has no upper half.
        (Vmm::KVMTOOL, [0xfff0_0001, 0xffff_e000, 0xfff0_0000, 0]),
        (
            Vmm::STRATOVIRT,
            [0xffff_ff00, 0xffff_f000, 0xfff0_000c, u32::MAX],
        ),
    ] {
        let mut region = region(flavour);
        let found = [0x10, 0x14, 0x18, 0x1c].map(|at| sized(&mut region, at));
        assert_eq!(found, registers, "{flavour:?}");
    }
}

#[test]
fn pending_bits_are_where_the_capability_says() {
    for (flavour, pending) in [(Vmm::KVMTOOL, 0x1001), (Vmm::STRATOVIRT, 33)] {
        let mut region = region(flavour);
        assert_eq!(config(&mut region, offset::MSIX + 4), 1);
        assert_eq!(config(&mut region, offset::MSIX + 8), pending);
        assert_eq!(region.bar_read(VM, 1, 16 + 12, Width::U32), 1);
    }
}

#[test]
fn registers_do_nothing() {
    for flavour in ALL {
        let mut region = region(flavour);
        let (tell, told) = std::sync::mpsc::channel();
        region.observe(move |event| tell.send(event.to_string()).unwrap());
        for width in Width::ALL {
            for at in 0..16 {
                region.bar_write(VM, 0, at, width, u64::MAX);
                assert_eq!(region.bar_read(VM, 0, at, width), 0);
            }
        }
        assert!(!told.try_iter().any(|event| event.contains("ring")));
    }
}

/// Cloud Hypervisor aligns the memory to 4 bytes: where it lies says nothing about its size.
#[test]
fn cloud_hypervisor_puts_memory_at_any_address() {
    let mut region = region(Vmm::CLOUD_HYPERVISOR);
    let base = 0x7f_fff8_1000;
    region.place_bar(VM, 2, base);
    assert_eq!(config(&mut region, 0x18), 0xfff8_100c);
    assert_eq!(config(&mut region, 0x1c), 0x7f);
    assert!(region.write(VM, base + SIZE - 8, Width::U64, 7));
    assert_eq!(region.bar_read(VM, 2, SIZE - 8, Width::U64), 7);
    assert_eq!(region.read(VM, base + SIZE, Width::U64), None);
}

#[test]
fn cloud_hypervisor_moves_a_bar_once_memory_is_enabled() {
    let mut region = region(Vmm::CLOUD_HYPERVISOR);
    let (old, new) = (0x7f_fff8_0000, 0x10_0000_3000);
    region.place_bar(VM, 2, old);
    region.bar_write(VM, 2, 0, Width::U32, 7);
    region.config_write(VM, 0x18, Width::U32, new as u32);
    region.config_write(VM, 0x1c, Width::U32, (new >> 32) as u32);
    assert_eq!(region.read(VM, old, Width::U32), Some(7));
    region.config_write(VM, offset::COMMAND, Width::U16, COMMAND_MEMORY.into());
    assert_eq!(region.read(VM, old, Width::U32), None);
    assert_eq!(region.read(VM, new, Width::U32), Some(7));
    // While it is sized it stays.
    sized(&mut region, 0x18);
    assert_eq!(region.read(VM, new, Width::U32), Some(7));
}

#[test]
fn kvmtool_s_bars_stay_where_it_has_put_them() {
    let mut region = region(Vmm::KVMTOOL);
    region.place_bar(VM, 0, 0x6200);
    region.place_bar(VM, 2, 0xc800_0000);
    assert_eq!(config(&mut region, 0x10), 0x6201);
    // Ports are no memory.
    assert_eq!(region.read(VM, 0x6200, Width::U32), None);
    region.config_write(VM, 0x18, Width::U32, 0x9000_0000);
    region.config_write(VM, offset::COMMAND, Width::U16, COMMAND_MEMORY.into());
    assert_eq!(config(&mut region, 0x18), 0x9000_0000);
    assert_eq!(region.read(VM, 0x9000_0000, Width::U32), None);
    assert_eq!(region.read(VM, 0xc800_0000, Width::U32), Some(0));
}

#[test]
fn a_reset_puts_bars_back_and_keeps_the_memory() {
    for flavour in ALL {
        let mut region = region(flavour);
        region.place_bar(VM, 2, 0xc800_0000);
        region.bar_write(VM, 2, 0, Width::U32, 7);
        region.config_write(VM, 0x18, Width::U32, 0x9000_0000);
        region.reset(VM);
        assert_eq!(config(&mut region, 0x18) & !0xf, 0xc800_0000);
        assert_eq!(region.bar_read(VM, 2, 0, Width::U32), 7);
    }
}

#[test]
fn only_stratovirt_s_host_raises_vectors() {
    for flavour in [Vmm::CLOUD_HYPERVISOR, Vmm::KVMTOOL] {
        let mut region = region(flavour);
        let expected = Outcome::Lost(Lost::NoDoorbell);
        assert_eq!(raise(&mut region, 0), expected);
    }
    let mut region = region(Vmm::STRATOVIRT);
    let expected = Outcome::Lost(Lost::NoSuchVector);
    assert_eq!(raise(&mut region, 2), expected);
    region.config_write(VM, offset::COMMAND, Width::U16, 6);
    // It is kept until MSI-X is on and the vector is not masked.
    assert_eq!(raise(&mut region, 1), Outcome::Pending);
    assert_eq!(region.bar_read(VM, 1, 32, Width::U32), 2);
    region.config_write(VM, offset::MSIX_CONTROL, Width::U16, MSIX_ENABLE.into());
    assert_eq!(region.next_interrupt(), None);
    region.bar_write(VM, 1, 16 + 8, Width::U64, 0x42);
    assert_eq!(region.next_interrupt().unwrap().message.data, 0x42);
    assert_eq!(raise(&mut region, 1), Outcome::Sent);
}

/// Neither when it is raised nor when it is unmasked.
#[test]
fn stratovirt_does_not_look_at_the_bus_master_bit() {
    let mut region = region(Vmm::STRATOVIRT);
    region.config_write(VM, offset::COMMAND, Width::U16, COMMAND_MEMORY.into());
    assert_eq!(raise(&mut region, 0), Outcome::Pending);
    assert_eq!(raise(&mut region, 1), Outcome::Pending);
    // One is unmasked by its own bit, the other one with all.
    region.bar_write(VM, 1, 16 + 12, Width::U32, 0);
    region.config_write(VM, offset::MSIX_CONTROL, Width::U16, MSIX_ENABLE.into());
    assert_eq!(region.next_interrupt().unwrap().vector, 1);
    region.bar_write(VM, 1, 12, Width::U32, 0);
    assert_eq!(region.next_interrupt().unwrap().vector, 0);
    assert_eq!(raise(&mut region, 1), Outcome::Sent);
}
