// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! QEMU's devices as the specification and its source have them. That this is what QEMU does is shown by
//! the differential tests of the crate `ivshmem-qtest`.

use ivshmem_model::config::{offset, MSIX_ENABLE};
use ivshmem_model::flavour::{Lost, Outcome, Qemu, Ring};
use ivshmem_model::{Region, Width};

fn region(flavour: Qemu) -> Region<Vec<u8>> {
    let mut region = Region::new(flavour, vec![0; 1 << 20]);
    region.attach(0).unwrap();
    region
}

fn doorbell(vectors: u16) -> Region<Vec<u8>> {
    region(Qemu::doorbell(vectors).unwrap())
}

#[test]
fn vectors_that_qemu_takes() {
    for (vectors, possible) in [(0, false), (1, true), (2048, true), (2049, false)] {
        assert_eq!(Qemu::doorbell(vectors).is_some(), possible);
    }
}

/// The lowest four bits of a base address register are its type.
#[test]
fn memory_that_cannot_be_a_bar() {
    for bytes in [0, 1, 8, 24] {
        let new = || Region::new(Qemu::plain(), vec![0; bytes]);
        assert!(std::panic::catch_unwind(new).is_err(), "{bytes}");
    }
    let mut region = Region::new(Qemu::plain(), vec![0; 16]);
    region.attach(0).unwrap();
    region.config_write(0, 0x18, Width::U32, u32::MAX);
    assert_eq!(region.config_read(0, 0x18, Width::U32), 0xffff_fffc);
}

/// `msix_init_exclusive_bar`: 4 KiB are enough for up to 128 vectors.
#[test]
fn sizes_of_bar1() {
    for (vectors, size, pba) in [
        (1, 4096, 0x800),
        (128, 4096, 0x800),
        (129, 4096, 0x810),
        (256, 8192, 0x1000),
        (2048, 65536, 0x8000),
    ] {
        let mut region = doorbell(vectors);
        assert_eq!(region.device(0).unwrap().bars[1].size, size, "{vectors}");
        assert_eq!(region.config_read(0, offset::MSIX + 8, Width::U32), pba | 1);
        let last = u64::from(vectors) * 16 - 4;
        assert_eq!(region.bar_read(0, 1, last, Width::U32), 1);
    }
}

#[test]
fn plain_has_no_interrupts_and_no_identity() {
    let mut region = Region::new(Qemu::plain(), vec![0; 1 << 20]);
    region.attach(5).unwrap();
    assert_eq!(region.bar_read(5, 0, 8, Width::U32), 0);
    assert_eq!(region.config_read(5, offset::CAPABILITIES, Width::U8), 0);
    let ring = Ring { peer: 5, vector: 0 };
    assert_eq!(region.ring(5, ring), Outcome::Lost(Lost::NoDoorbell));
    assert_eq!(region.bar_read(5, 1, 0, Width::U32), 0xffff_ffff);
}

#[test]
fn vectors_without_an_eventfd_are_not_rung() {
    let mut region = region(Qemu::doorbell(4).unwrap().with_eventfds(2));
    let ring = |vector| Ring { peer: 0, vector };
    assert_eq!(region.ring(0, ring(1)), Outcome::Lost(Lost::Disabled));
    assert_eq!(region.ring(0, ring(2)), Outcome::Lost(Lost::NoSuchVector));
}

#[test]
fn narrow_and_wide_accesses_of_the_doorbell() {
    let rings = |offset, width, value| {
        let mut region = doorbell(2);
        let (tell, told) = std::sync::mpsc::channel();
        region.observe(move |event| tell.send(event.to_string()).unwrap());
        region.bar_write(0, 0, offset, width, value);
        let rings = told.try_iter().filter(|line| line.contains("ring"));
        rings.collect::<Vec<_>>()
    };
    let off = "lost: MSI-X is off";
    assert_eq!(
        rings(12, Width::U32, 0x1_0001),
        ["0 ring 1.1 lost: no such peer"]
    );
    // Only 8 bits of the vector count.
    assert_eq!(rings(12, Width::U32, 0x101), [format!("0 ring 0.1 {off}")]);
    // The offset is rounded down, the value is not shifted.
    assert_eq!(rings(14, Width::U16, 1), [format!("0 ring 0.1 {off}")]);
    assert_eq!(rings(8, Width::U64, 1 << 32), [format!("0 ring 0.1 {off}")]);
    assert_eq!(
        rings(13, Width::U32, 0).len(),
        2,
        "cut into 1, 2 and 1 bytes, the last of them outside"
    );
    assert_eq!(rings(16, Width::U32, 1), [""; 0]);
}

#[test]
fn a_masked_ring_waits_for_the_unmask() {
    let mut region = doorbell(2);
    region.config_write(0, offset::COMMAND, Width::U16, 6);
    region.config_write(0, offset::MSIX_CONTROL, Width::U16, MSIX_ENABLE.into());
    assert_eq!(
        region.ring(0, Ring { peer: 0, vector: 1 }),
        Outcome::Pending
    );
    assert_eq!(region.bar_read(0, 1, 0x800, Width::U32), 2);
    assert_eq!(region.next_interrupt(), None);
    region.bar_write(0, 1, 16 + 8, Width::U64, 0x42);
    assert_eq!(region.next_interrupt().unwrap().message.data, 0x42);
    assert_eq!(region.bar_read(0, 1, 0x800, Width::U32), 0);
}

#[test]
fn a_reset_keeps_the_identity() {
    let mut region = Region::new(Qemu::doorbell(2).unwrap(), vec![0; 1 << 20]);
    region.attach(3).unwrap();
    region.bar_write(3, 0, 0, Width::U32, 7);
    region.place_bar(3, 0, 0xe000_0000);
    region.config_write(3, offset::COMMAND, Width::U16, 6);
    assert_eq!(region.read(3, 0xe000_0008, Width::U32), Some(3));
    region.reset(3);
    assert_eq!(region.read(3, 0xe000_0008, Width::U32), None);
    assert_eq!(region.bar_read(3, 0, 0, Width::U32), 0);
    assert_eq!(region.bar_read(3, 0, 8, Width::U32), 3);
}
