// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! ACRN's dm-land device, rule by rule.

use ivshmem_model::config::offset;
use ivshmem_model::flavour::{AcrnDm, Lost, Outcome};
use ivshmem_model::{Event, Region, Width};

const VM: u16 = 1;
const BASES: [u64; 3] = [0x8000_0000, 0x8000_1000, 0x8020_0000];

fn region(flavour: AcrnDm, mib: usize) -> Region<Vec<u8>> {
    let mut region = Region::new(flavour, vec![0; mib << 20]).with_region_id(0x1234);
    region.attach(VM).unwrap();
    for (bar, base) in BASES.into_iter().enumerate() {
        region.place_bar(VM, bar, base);
    }
    region
}

fn config(region: &mut Region<Vec<u8>>, offset: u16) -> u32 {
    region.config_read(VM, offset, Width::U32)
}

#[test]
fn configuration_space_after_creation() {
    let mut region = region(AcrnDm::V3_3, 2);
    let expected = [
        (0x00, 0x1110_1af4),
        (0x04, 0x0000_0007),
        (0x08, 0x0500_0001),
        (0x0c, 0),
        (0x10, 0x8000_0000),
        (0x14, 0x8000_1000),
        (0x18, 0x8020_0004),
        (0x1c, 0),
        (0x20, 0),
        (0x2c, 0x1234_8086),
        (0x30, 0),
        (0x34, 0),
        (0x3c, 0x0000_00ff),
        (0x100, 0),
        (0x104, u32::MAX),
        (0xffc, u32::MAX),
    ];
    for (offset, value) in expected {
        assert_eq!(config(&mut region, offset), value, "{offset:#x}");
    }
    let old = AcrnDm::V2_0;
    assert_eq!(
        config(&mut self::region(old, 2), offset::SUBSYSTEM_VENDOR),
        0
    );
}

#[test]
fn memory_is_prefetchable_above_32_mib_or_with_ovmf() {
    let ovmf = AcrnDm {
        ovmf: true,
        ..AcrnDm::V3_3
    };
    for (flavour, mib, flags) in [
        (AcrnDm::V3_3, 2, 4),
        (AcrnDm::V3_3, 32, 4),
        (AcrnDm::V3_3, 64, 12),
        (ovmf, 2, 12),
    ] {
        assert_eq!(
            config(&mut region(flavour, mib), 0x18) & 0xf,
            flags,
            "{mib} {flavour:?}"
        );
    }
}

#[test]
fn what_software_can_write() {
    let mut region = region(AcrnDm::V3_3, 2);
    let masks = [
        (0x00, u32::MAX),
        (0x04, 0x0000_077f),
        (0x10, 0xffff_ff00),
        (0x14, 0xffff_f000),
        (0x18, 0xffe0_0004),
        (0x1c, u32::MAX),
        (0x20, 0),
        (0x24, 0),
        (0x30, 0),
        (0x100, 0),
        (0x104, u32::MAX),
    ];
    for (at, value) in masks {
        region.config_write(VM, at, Width::U32, u32::MAX);
        assert_eq!(config(&mut region, at), value, "{at:#x}");
    }
}

#[test]
fn bars_take_aligned_words_only() {
    let mut region = region(AcrnDm::V3_3, 2);
    for (at, width) in [
        (0x10, Width::U8),
        (0x10, Width::U16),
        (0x12, Width::U32),
        (0x13, Width::U8),
    ] {
        region.config_write(VM, at, width, u32::MAX);
        assert_eq!(config(&mut region, 0x10), 0x8000_0000);
    }
}

/// `pci_cfgrw`.
#[test]
fn unaligned_configuration_accesses_do_nothing() {
    let mut region = region(AcrnDm::V3_3, 2);
    for (at, width) in [(0x01, Width::U16), (0x2e, Width::U32), (0x102, Width::U32)] {
        region.config_write(VM, at, width, 0);
        let found = region.config_read(VM, at, width);
        assert_eq!(u64::from(found), width.ones(), "{at:#x}");
    }
    assert_eq!(config(&mut region, 0x00), 0x1110_1af4);
    assert_eq!(config(&mut region, 0x2c), 0x1234_8086);
}

/// `pci_emul_hdrtype_fixup` says whether there are more functions, and only a write at the very offset of the ROM's
/// register is ignored.
#[test]
fn corners_of_the_header() {
    let mut region = region(AcrnDm::V3_3, 2);
    region.config_write(VM, offset::HEADER_TYPE, Width::U8, 0xff);
    assert_eq!(region.config_read(VM, offset::HEADER_TYPE, Width::U8), 0x7f);
    region.config_write(VM, offset::ROM, Width::U8, 0xff);
    assert_eq!(config(&mut region, offset::ROM), 0);
    region.config_write(VM, offset::ROM + 2, Width::U16, 0xffff);
    assert_eq!(config(&mut region, offset::ROM), 0xffff_0000);
}

#[test]
fn registers_of_all_widths() {
    let mut region = region(AcrnDm::V3_3, 2);
    for offset in 0..256_u64 {
        for width in [Width::U8, Width::U16, Width::U32] {
            if offset + width.bytes() > 256 {
                continue;
            }
            region.bar_write(VM, 0, offset, width, u64::MAX);
            let zero = [0, 4, 8].contains(&offset);
            let expected = if zero { 0 } else { width.ones() };
            assert_eq!(
                region.bar_read(VM, 0, offset, width),
                expected,
                "{offset} {width:?}"
            );
        }
    }
    let wide = [0, 4, 8, 12].map(|at| region.bar_read(VM, 0, at, Width::U64));
    let high = 0xffff_ffff_0000_0000;
    assert_eq!(wide, [0, 0, high, u64::MAX]);
}

#[test]
fn bar1_is_dead() {
    let mut region = region(AcrnDm::V3_3, 2);
    region.write(VM, BASES[1], Width::U32, 0);
    assert_eq!(region.read(VM, BASES[1], Width::U32), Some(0xffff_ffff));
    assert!(region.device(VM).unwrap().msix.is_none());
}

#[test]
fn doorbells_are_only_logged() {
    let mut region = region(AcrnDm::V3_3, 2);
    region.attach(2).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    region.observe(move |event| tell.send(*event).unwrap());
    region.bar_write(VM, 0, 12, Width::U32, 2 << 16 | 3);
    let rung = told.try_iter().last().unwrap();
    let expected = Event::Ring {
        from: VM,
        to: 2,
        vector: 3,
        outcome: Outcome::Lost(Lost::NoDoorbell),
    };
    assert_eq!(rung, expected);
    assert_eq!(region.next_interrupt(), None);
}

#[test]
fn moving_the_memory_loses_it_and_sizing_does_not() {
    let mut region = region(AcrnDm::V3_3, 2);
    assert!(region.write(VM, BASES[2], Width::U32, 7));
    region.config_write(VM, 0x18, Width::U32, u32::MAX);
    assert_eq!(config(&mut region, 0x18), 0xffe0_0004);
    region.config_write(VM, 0x18, Width::U32, BASES[2] as u32);
    assert_eq!(region.read(VM, BASES[2], Width::U32), Some(7));
    region.config_write(VM, 0x18, Width::U32, 0x9000_0000);
    assert_eq!(region.read(VM, 0x9000_0000, Width::U32), None);
    // The memory is where it was, whatever the register says.
    assert_eq!(region.read(VM, BASES[2], Width::U32), Some(7));
}

#[test]
fn memory_enable_is_for_the_trapped_bars_alone() {
    let mut region = region(AcrnDm::V3_3, 2);
    region.config_write(VM, offset::COMMAND, Width::U16, 0);
    assert_eq!(region.read(VM, BASES[0], Width::U32), None);
    assert_eq!(region.read(VM, BASES[1], Width::U32), None);
    assert_eq!(region.read(VM, BASES[2], Width::U32), Some(0));
    region.config_write(VM, offset::COMMAND, Width::U16, 2);
    assert_eq!(region.read(VM, BASES[0], Width::U32), Some(0));
}

#[test]
fn a_reset_puts_everything_back_but_the_contents() {
    let mut region = region(AcrnDm::V3_3, 2);
    region.write(VM, BASES[2], Width::U32, 7);
    region.config_write(VM, 0x18, Width::U32, 0x9000_0000);
    region.config_write(VM, 0x00, Width::U32, 0);
    region.reset(VM);
    assert_eq!(config(&mut region, 0x00), 0x1110_1af4);
    assert_eq!(config(&mut region, 0x18), 0x8020_0004);
    assert_eq!(region.read(VM, BASES[2], Width::U32), Some(7));
}
