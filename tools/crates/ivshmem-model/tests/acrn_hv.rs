// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! ACRN's hv-land device, rule by rule.

use ivshmem_model::config::{offset, MSIX_ENABLE, MSIX_FUNCTION_MASK};
use ivshmem_model::flavour::{AcrnHv, Lost, Outcome, Ring};
use ivshmem_model::{AttachError, Region, Width};

const SIZE: u64 = 2 << 20;
const VM: u16 = 2;
const ALL_ONES: u32 = u32::MAX;

fn region(flavour: AcrnHv) -> Region<Vec<u8>> {
    let mut region = Region::new(flavour, vec![0; SIZE as usize]).with_region_id(0x1234);
    region.attach(VM).unwrap();
    region
}

fn config(region: &mut Region<Vec<u8>>, offset: u16) -> u32 {
    region.config_read(VM, offset, Width::U32)
}

fn set_config(region: &mut Region<Vec<u8>>, offset: u16, value: u32) {
    region.config_write(VM, offset, Width::U32, value);
}

/// Switches MSI-X on and unmasks a vector.
fn arm(region: &mut Region<Vec<u8>>, vm: u16, vector: u64) {
    region.config_write(vm, offset::MSIX_CONTROL, Width::U16, MSIX_ENABLE.into());
    region.bar_write(vm, 1, vector * 16, Width::U64, 0xfee0_0000);
    region.bar_write(vm, 1, vector * 16 + 8, Width::U64, 0x40 + vector);
}

#[test]
fn configuration_space_after_creation() {
    let mut region = region(AcrnHv::V3_3);
    let expected = [
        (0x00, 0x1110_1af4),
        (0x04, 0x0010_0000),
        (0x08, 0x0500_0001),
        (0x0c, 0x0080_0000),
        (0x10, 0),
        (0x14, 0),
        (0x18, 0xc),
        (0x1c, 0),
        (0x20, 0),
        (0x24, 0),
        (0x2c, 0x1234_8086),
        (0x30, 0),
        (0x34, 0x40),
        (0x3c, 0),
        (0x40, 0x0007_0011),
        (0x44, 0x0000_0001),
        (0x48, 0x0000_0801),
        (0x100, 0),
    ];
    for (offset, value) in expected {
        assert_eq!(config(&mut region, offset), value, "{offset:#x}");
    }
}

#[test]
fn older_releases_have_no_subsystem_and_one_has_a_larger_bar0() {
    for (flavour, size) in [(AcrnHv::V2_4, 256), (AcrnHv::V2_3, 4096)] {
        let mut region = region(flavour);
        assert_eq!(config(&mut region, offset::SUBSYSTEM_VENDOR), 0);
        assert_eq!(config(&mut region, offset::CACHE_LINE), 0);
        assert_eq!(region.device(VM).unwrap().bars[0].size, size);
    }
}

#[test]
fn everything_but_the_capability_can_be_overwritten() {
    let mut region = region(AcrnHv::V3_3);
    for at in [
        0x00, 0x04, 0x08, 0x0c, 0x20, 0x24, 0x2c, 0x30, 0x34, 0x3c, 0x4c, 0xffc,
    ] {
        set_config(&mut region, at, ALL_ONES);
        assert_eq!(config(&mut region, at), ALL_ONES, "{at:#x}");
    }
    for (at, value) in [(0x40, 0xc007_0011), (0x44, 1), (0x48, 0x801)] {
        set_config(&mut region, at, ALL_ONES);
        assert_eq!(config(&mut region, at), value, "{at:#x}");
    }
}

#[test]
fn bars_decode_from_the_first_write_on_whatever_the_command_register_says() {
    let mut region = region(AcrnHv::V3_3);
    region.place_bar(VM, 0, 0x8000_0000);
    assert_eq!(config(&mut region, 0x10), 0x8000_0000);
    assert_eq!(region.read(VM, 0x8000_0008, Width::U32), None);
    set_config(&mut region, 0x10, 0x8000_1000);
    assert_eq!(region.read(VM, 0x8000_1008, Width::U32), Some(2));
    set_config(&mut region, 0x04, 0);
    assert_eq!(region.read(VM, 0x8000_1008, Width::U32), Some(2));
}

#[test]
fn only_all_ones_are_a_sizing() {
    let mut region = region(AcrnHv::V3_3);
    for (register, mask) in [
        (0x10, 0xffff_ff00),
        (0x14, 0xffff_f000),
        (0x18, 0xffe0_000c),
    ] {
        set_config(&mut region, register, ALL_ONES);
        assert_eq!(config(&mut region, register), mask);
    }
    set_config(&mut region, 0x1c, ALL_ONES);
    assert_eq!(config(&mut region, 0x1c), ALL_ONES);
    let device = region.device(VM).unwrap();
    assert!(device.bars.iter().all(|bar| bar.mapped.is_none()));
    set_config(&mut region, 0x10, 0xffff_fff0);
    assert_eq!(region.device(VM).unwrap().bars[0].mapped, Some(0xffff_ff00));
}

#[test]
fn bar2_is_mapped_while_no_half_is_being_sized_and_can_be_moved() {
    let mut region = region(AcrnHv::V3_3);
    set_config(&mut region, 0x18, 0);
    set_config(&mut region, 0x1c, 0x40);
    assert!(region.write(VM, 0x40_0000_0010, Width::U64, 7));
    set_config(&mut region, 0x1c, ALL_ONES);
    assert_eq!(region.read(VM, 0x40_0000_0010, Width::U64), None);
    set_config(&mut region, 0x18, ALL_ONES);
    set_config(&mut region, 0x1c, 0x41);
    assert_eq!(region.device(VM).unwrap().bars[2].mapped, None);
    set_config(&mut region, 0x18, 0x20_0000);
    assert_eq!(region.read(VM, 0x41_0020_0010, Width::U64), Some(7));
}

#[test]
fn a_write_of_any_width_is_one_of_the_whole_bar() {
    let mut region = region(AcrnHv::V3_3);
    region.config_write(VM, 0x13, Width::U8, 0xff);
    // 0xff is taken as the whole register, of which BAR0 has the upper 24 bits.
    assert_eq!(config(&mut region, 0x10), 0);
    region.config_write(VM, 0x12, Width::U16, 0xff00);
    assert_eq!(config(&mut region, 0x10), 0xff00);
}

#[test]
fn registers_are_scratch_words() {
    let mut region = region(AcrnHv::V3_3);
    let read = |region: &mut Region<_>, at| region.bar_read(VM, 0, at, Width::U32);
    assert_eq!([0, 4, 8, 12].map(|at| read(&mut region, at)), [0, 0, 2, 0]);
    for at in [0, 4, 8] {
        region.bar_write(VM, 0, at, Width::U32, 0xa5a5_0000 + at);
    }
    // IntrStatus is not cleared by reading, IVPosition not changed by writing.
    for _ in 0..2 {
        let values = [0, 4, 8, 12].map(|at| read(&mut region, at));
        assert_eq!(values, [0xa5a5_0000, 0xa5a5_0004, 2, 0]);
    }
}

#[test]
fn other_accesses_change_nothing_and_read_what_was_left() {
    let mut region = region(AcrnHv::V3_3);
    for offset in 0..256 {
        for width in Width::ALL {
            let right = width == Width::U32 && [0, 4, 8, 12].contains(&offset);
            if right || offset + width.bytes() > 256 {
                continue;
            }
            region.bar_write(VM, 0, offset, width, u64::MAX);
            assert_eq!(region.bar_read(VM, 0, 8, Width::U32), 2);
            assert_eq!(
                region.bar_read(VM, 0, offset, width),
                2,
                "{offset} {width:?}"
            );
            assert_eq!(region.bar_read(VM, 0, 0, Width::U32), 0);
        }
    }
}

#[test]
fn position_is_lost_when_bar0_is_mapped_in_older_releases() {
    for (flavour, after) in [(AcrnHv::V2_3, 0), (AcrnHv::V2_4, 0), (AcrnHv::V3_3, 2)] {
        let mut region = region(flavour);
        assert_eq!(region.bar_read(VM, 0, 8, Width::U32), 2);
        set_config(&mut region, 0x10, ALL_ONES);
        assert_eq!(region.bar_read(VM, 0, 8, Width::U32), 2);
        set_config(&mut region, 0x10, 0x8000_0000);
        assert_eq!(region.bar_read(VM, 0, 8, Width::U32), after);
    }
}

#[test]
fn table_is_raw_memory_of_aligned_words() {
    let mut region = region(AcrnHv::V3_3);
    for entry in 0..8 {
        assert_eq!(region.bar_read(VM, 1, entry * 16 + 12, Width::U32), 1);
    }
    region.bar_write(VM, 1, 12, Width::U32, 0xffff_fffe);
    assert_eq!(region.bar_read(VM, 1, 12, Width::U32), 0xffff_fffe);
    region.bar_write(VM, 1, 0, Width::U64, 0x1122_3344_5566_7788);
    assert_eq!(region.bar_read(VM, 1, 0, Width::U64), 0x1122_3344_5566_7788);
    for (offset, width) in [
        (0, Width::U8),
        (0, Width::U16),
        (2, Width::U32),
        (4, Width::U64),
    ] {
        region.bar_write(VM, 1, offset, width, 0);
    }
    assert_eq!(region.bar_read(VM, 1, 0, Width::U64), 0x1122_3344_5566_7788);
    for offset in [0x80, 0x7f8, 0x800, 0xff8] {
        region.bar_write(VM, 1, offset, Width::U64, u64::MAX);
        assert_eq!(region.bar_read(VM, 1, offset, Width::U64), 0);
    }
}

/// `rw_vmsix_table` of 3.3; before, narrow accesses did nothing anywhere.
#[test]
fn what_follows_the_table_reads_0_in_any_width() {
    for (flavour, beyond) in [(AcrnHv::V3_3, 0), (AcrnHv::V2_4, 2)] {
        let mut region = region(flavour);
        for (offset, expected) in [(0, 2), (0x80, beyond), (0x800, beyond), (0xffe, beyond)] {
            for width in [Width::U8, Width::U16] {
                assert_eq!(region.bar_read(VM, 0, 8, Width::U32), 2);
                let found = region.bar_read(VM, 1, offset, width);
                assert_eq!(found, expected, "{flavour:?} {offset:#x} {width:?}");
            }
        }
        // Not aligned: left as it was.
        assert_eq!(region.bar_read(VM, 0, 8, Width::U32), 2);
        assert_eq!(region.bar_read(VM, 1, 0x801, Width::U16), 2);
    }
}

/// `pci_is_valid_access`.
#[test]
fn unaligned_configuration_accesses_do_nothing() {
    let mut region = region(AcrnHv::V3_3);
    set_config(&mut region, 0x10, 0x8000_1000);
    for (at, width) in [(0x0e, Width::U32), (0x11, Width::U16), (0x12, Width::U32)] {
        region.config_write(VM, at, width, ALL_ONES);
        let found = region.config_read(VM, at, width);
        assert_eq!(u64::from(found), width.ones());
    }
    assert_eq!(config(&mut region, 0x0c), 0x0080_0000);
    assert_eq!(config(&mut region, 0x10), 0x8000_1000);
    assert_eq!(config(&mut region, 0x14), 0);
}

#[test]
fn doorbells_reach_whoever_is_armed_and_nobody_else() {
    let mut region = region(AcrnHv::V3_3);
    region.attach(0).unwrap();
    for vector in 0..8 {
        arm(&mut region, VM, vector);
        for from in [0, VM] {
            region.bar_write(from, 0, 12, Width::U32, 2 << 16 | vector);
            let interrupt = region.next_interrupt().unwrap();
            assert_eq!((interrupt.peer, u64::from(interrupt.vector)), (VM, vector));
            assert_eq!(interrupt.message.address, 0xfee0_0000);
            assert_eq!(u64::from(interrupt.message.data), 0x40 + vector);
            assert_eq!(region.next_interrupt(), None);
        }
    }
}

#[test]
fn every_way_to_lose_a_ring() {
    let mut region = region(AcrnHv::V3_3);
    region.attach(0).unwrap();
    let ring = |region: &mut Region<_>, peer, vector| {
        let outcome = region.ring(0, Ring { peer, vector });
        let lost = outcome != Outcome::Sent;
        assert_eq!(region.next_interrupt().is_none(), lost);
        outcome
    };
    let lost = Outcome::Lost;
    assert_eq!(ring(&mut region, 1, 0), lost(Lost::NoSuchPeer));
    assert_eq!(ring(&mut region, 16, 0), lost(Lost::NoSuchPeer));
    assert_eq!(ring(&mut region, VM, 0), lost(Lost::Disabled));
    arm(&mut region, VM, 0);
    assert_eq!(ring(&mut region, VM, 8), lost(Lost::NoSuchVector));
    // The vector has 16 bits here; QEMU would ring vector 0.
    assert_eq!(ring(&mut region, VM, 0x100), lost(Lost::NoSuchVector));
    assert_eq!(ring(&mut region, VM, 1), lost(Lost::Masked));
    let control = MSIX_ENABLE | MSIX_FUNCTION_MASK;
    region.config_write(VM, offset::MSIX_CONTROL, Width::U16, control.into());
    assert_eq!(ring(&mut region, VM, 0), lost(Lost::Disabled));
    region.config_write(VM, offset::MSIX_CONTROL, Width::U16, MSIX_ENABLE.into());
    // Nothing of all this was kept.
    arm(&mut region, VM, 1);
    assert_eq!(region.next_interrupt(), None);
    assert_eq!(ring(&mut region, VM, 1), Outcome::Sent);
    region.detach(VM);
    assert_eq!(ring(&mut region, VM, 1), lost(Lost::NoSuchPeer));
}

#[test]
fn a_reset_is_a_new_device_over_the_old_memory() {
    let mut region = region(AcrnHv::V3_3);
    region.place_bar(VM, 0, 0x8000_0000);
    arm(&mut region, VM, 0);
    region.bar_write(VM, 0, 0, Width::U32, 7);
    region.bar_write(VM, 2, 100, Width::U8, 9);
    set_config(&mut region, 0x10, 0x9000_0000);
    region.reset(VM);
    assert_eq!(config(&mut region, 0x10), 0x8000_0000);
    assert_eq!(region.bar_read(VM, 0, 0, Width::U32), 0);
    assert_eq!(region.bar_read(VM, 0, 8, Width::U32), 2);
    assert_eq!(region.bar_read(VM, 1, 12, Width::U32), 1);
    assert_eq!(region.bar_read(VM, 2, 100, Width::U8), 9);
    assert_eq!(region.read(VM, 0x8000_0000, Width::U32), None);
}

#[test]
fn who_may_come() {
    let mut region = region(AcrnHv::V3_3);
    assert_eq!(region.attach(VM), Err(AttachError::Present(VM)));
    assert_eq!(region.attach(16), Err(AttachError::OutOfRange(16)));
    assert_eq!(region.attach(15), Ok(()));
    assert_eq!(region.peers().collect::<Vec<_>>(), [VM, 15]);
}
