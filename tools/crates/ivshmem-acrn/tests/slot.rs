// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The option of `acrn-dm`: what is taken, and the message for everything that is not.

use ivshmem_acrn::slot::{parse_all, Slot};
use ivshmem_acrn::Provider;

fn slot(text: &str) -> Slot {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn message(text: &str) -> String {
    text.parse::<Slot>().expect_err(text).to_string()
}

#[test]
fn the_tutorial_s_lines() {
    let vm1 = slot("6,ivshmem,dm:/test,2");
    assert_eq!(vm1.bdf.to_string(), "00:06.0");
    assert_eq!(
        (vm1.provider, vm1.full_name()),
        (Provider::DeviceModel, "dm:/test".into())
    );
    assert_eq!((vm1.size.mib(), vm1.region_id), (2, 0));
    let vm2 = slot("5,ivshmem,hv:/shm_region_0,2");
    assert_eq!(vm2.full_name(), "hv:/shm_region_0");
}

#[test]
fn slots_have_three_forms_and_three_separators() {
    for (text, bdf) in [
        ("5", "00:05.0"),
        ("31:7", "00:1f.7"),
        ("5.1", "00:05.1"),
        ("0/6/1", "00:06.1"),
        ("1:6:0", "01:06.0"),
    ] {
        assert_eq!(
            slot(&format!("{text},ivshmem,dm:/a,2")).bdf.to_string(),
            bdf
        );
    }
    for text in [
        "32,ivshmem,dm:/a,2",
        "5:8,ivshmem,dm:/a,2",
        "x,ivshmem,dm:/a,2",
        "5",
    ] {
        assert_eq!(
            message(text),
            format!("Invalid PCI slot info field \"{text}\"")
        );
    }
}

#[test]
fn a_slot_is_used_once() {
    let error = parse_all(["6,ivshmem,dm:/a,2", "6:0,ivshmem,dm:/b,2"]).unwrap_err();
    assert_eq!(error.to_string(), "pci slot 6:0 already occupied!");
    let slots = parse_all(["6,ivshmem,dm:/a,2", "6:1,ivshmem,dm:/b,2"]).unwrap();
    assert_eq!(slots.ivshmem.len(), 2);
}

/// Launch scripts have more devices than these, and the tutorial's has two in slot 6.
#[test]
fn other_devices_take_their_slots() {
    let slots = parse_all(["5,virtio-console,@stdio:port", "6,ivshmem,dm:/a,2", "7,lpc"]).unwrap();
    let others = slots.others.iter();
    let others: Vec<String> = others
        .map(|(bdf, device)| format!("{bdf} {device}"))
        .collect();
    assert_eq!(others, ["00:05.0 virtio-console", "00:07.0 lpc"]);
    assert_eq!(slots.ivshmem.len(), 1);
    let error = parse_all(["6,virtio-hyper_dmabuf", "6,ivshmem,dm:/test,2"]).unwrap_err();
    assert_eq!(error.to_string(), "pci slot 6:0 already occupied!");
    let error = parse_all(["5,ivshmen,dm:/a,2"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pci slot 5:0: unknown device \"ivshmen\""
    );
}

#[test]
fn each_rule_has_acrn_s_message() {
    let size = |mib| {
        format!("Invalid shared memory size {mib}, the size range is [2MB,512MB], the unit is megabyte and the value must be a power of 2")
    };
    let cases = [
        (
            "6,ivshmen,dm:/a,2",
            "pci slot 6:0: unknown device \"ivshmen\"".into(),
        ),
        (
            "6,ivshmem,a,2",
            "the ivshmem memory prefix name is incorrect".into(),
        ),
        (
            "6,ivshmem",
            "the ivshmem memory prefix name is incorrect".into(),
        ),
        (
            "6,ivshmem,dm:/a",
            "the shared memory size is incorrect, ".into(),
        ),
        (
            "6,ivshmem,dm:/a,M2",
            "the shared memory size is incorrect, M2".into(),
        ),
        ("6,ivshmem,dm:/a,1", size(1)),
        ("6,ivshmem,dm:/a,3", size(3)),
        ("6,ivshmem,dm:/a,1024", size(1024)),
        ("6,ivshmem,dm:/a,0x200", size(0)),
        (
            "6,ivshmem,dm:/a b,2",
            "Name must be between 1-27 characters and contain only letters, digits and \"_\"."
                .into(),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(message(text), expected, "{text}");
    }
}

#[test]
fn numbers_as_acrn_dm_reads_them() {
    assert_eq!(slot("6,ivshmem,dm:/a,2M").size.mib(), 2);
    assert_eq!(slot("6,ivshmem,dm:/a,4098").size.mib(), 2);
    assert_eq!(slot("6,ivshmem,dm:/a,2,4660").region_id, 0x1234);
    assert_eq!(slot("6,ivshmem,dm:/a,2,65537").region_id, 1);
    assert_eq!(slot("6,ivshmem,dm:/a,2,0x1000").region_id, 0);
    assert_eq!(slot("6,ivshmem,dm:/a,2,4660").warning, None);
    for (text, read) in [
        ("2M", "2M as 2"),
        ("4098", "4098 as 2"),
        ("2,0x1000", "0x1000 as 0"),
        ("2,65537", "65537 as 1"),
    ] {
        let warning = slot(&format!("6,ivshmem,dm:/a,{text}")).warning.unwrap();
        assert_eq!(warning, format!("acrn-dm reads {read}"));
    }
    let none = slot("6,ivshmem,dm:/a,2,x");
    assert_eq!(
        none.warning.unwrap(),
        "shared memory region ID is incorrect, x, 0 will used."
    );
}

/// `strtoul()` skips blanks and takes a sign, and what no 64 bits can hold is an error.
#[test]
fn numbers_as_the_c_library_reads_them() {
    for text in [" 2", "+2", "\t2"] {
        let slot = slot(&format!("6,ivshmem,dm:/a,{text}"));
        assert_eq!(slot.size.mib(), 2, "{text}");
    }
    assert_eq!(slot("6,ivshmem,dm:/a, 2, 4660").warning, None);
    let all_bits = slot("6,ivshmem,dm:/a,2,-1");
    assert_eq!(all_bits.region_id, 0xffff);
    assert_eq!(all_bits.warning.unwrap(), "acrn-dm reads -1 as 65535");
    assert_eq!(
        message("6,ivshmem,dm:/a,18446744073709551618"),
        "the shared memory size is incorrect, 18446744073709551618"
    );
    assert!(message("6,ivshmem,dm:/a,-2").contains("memory size 4094,"));
}

/// `parse_bdf()` reads the same numbers, and nothing after the third.
#[test]
fn slots_as_acrn_dm_reads_them() {
    assert_eq!(slot(" 6:+1,ivshmem,dm:/a,2").bdf.to_string(), "00:06.1");
    assert_eq!(slot(" 6,ivshmem,dm:/a,2").warning, None);
    for (text, read) in [
        ("6x", "00:06.0"),
        ("0x6", "00:00.0"),
        ("1:6:0:9", "01:06.0"),
    ] {
        let slot = slot(&format!("{text},ivshmem,dm:/a,2"));
        assert_eq!(slot.bdf.to_string(), read);
        assert_eq!(
            slot.warning.unwrap(),
            format!("acrn-dm reads {text} as {read}")
        );
    }
    for text in ["-1", "6:", ":6", "256:6:0"] {
        let option = format!("{text},ivshmem,dm:/a,2");
        assert_eq!(
            message(&option),
            format!("Invalid PCI slot info field \"{option}\"")
        );
    }
}
