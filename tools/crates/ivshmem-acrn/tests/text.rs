// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The text form: what is taken, and the message for everything that is not.

use ivshmem_acrn::{text, Order, Provider, Vm};

const KEY: &str = "hv,FEATURES,IVSHMEM,IVSHMEM_REGION,";

fn vms(ids: &[u16]) -> Vec<Vm> {
    let vm = |id: &u16| Vm {
        id: *id,
        name: format!("VM{id}"),
        order: Order::PostLaunched,
    };
    ids.iter().map(vm).collect()
}

fn message(text: &str) -> String {
    let error = text::parse(&[text], Some(vms(&[0, 1, 2]))).expect_err(text);
    error.to_string()
}

#[test]
fn the_tutorial_s_regions() {
    let hv = text::parse_one("hv:/shm_region_0, 2, 0:2").unwrap();
    assert_eq!(hv.provider, Provider::Hypervisor);
    assert_eq!(hv.name.as_str(), "shm_region_0");
    assert_eq!(hv.size.mib(), 2);
    assert_eq!(hv.members.iter().map(|m| m.vm).collect::<Vec<_>>(), [0, 2]);
    let dm = text::parse_one("dm:/test,2,1:2").unwrap();
    assert_eq!(dm.provider, Provider::DeviceModel);
    assert_eq!(dm.full_name(), "dm:/test");
}

#[test]
fn more_than_two_virtual_machines_and_single_blanks() {
    for text in ["hv:/a, 4 , 0 : 1 : 2", "hv:/a,4,0:1:2 "] {
        assert_eq!(text::parse_one(text).unwrap().members.len(), 3, "{text}");
    }
}

#[test]
fn all_sizes() {
    for mib in 0..=1030 {
        let right = [2, 4, 8, 16, 32, 64, 128, 256, 512].contains(&mib);
        let text = format!("hv:/a,{mib},0:1");
        assert_eq!(text::parse_one(&text).is_ok(), right, "{text}");
    }
}

/// ACRN 2 counts the prefix and needs no room for a NUL.
#[test]
fn names_of_28_characters_and_no_more() {
    let name = "a".repeat(28);
    assert!(text::parse_one(&format!("hv:/{name},2,0:1")).is_ok());
    assert_eq!(
        message(&format!("hv:/{name}a,2,0:1")),
        format!("{KEY}0: The size of share Memory name should be in range [1,32] bytes.")
    );
}

/// Releases 2.2 to 2.4 take them; the schema of 2.5 to 2.7 does not.
#[test]
fn virtual_machines_above_9() {
    let region = text::parse_one("hv:/a,2,0:15").unwrap();
    assert_eq!(
        region.members.iter().map(|m| m.vm).collect::<Vec<_>>(),
        [0, 15]
    );
    assert_eq!(
        text::parse_one("hv:/a,2,0:65536").unwrap_err().to_string(),
        format!("{KEY}0: Shared Memory can be only configured for existed VMs.")
    );
}

#[test]
fn each_rule_has_acrn_s_message() {
    let separated = "The name, size, communication VM IDs of the share memory should be separated by comma and not be empty.";
    let format = "The shared memory region should be configured with format like this: hv:/shm_region_0, 2, 0:2";
    let duplicated = "The communication VM IDs of the share memory should not be duplicated.";
    let unknown = "Shared Memory can be only configured for existed VMs.";
    let length = "The size of share Memory name should be in range [1,32] bytes.";
    let number = "The size of the shared memory region should be a decimal number.";
    let range = "The size of the shared memory region should be in the range of [2MB, 512MB].";
    let power = "The size of share Memory region should be a power of 2.";
    let long = format!("hv:/{},2,0:1", "a".repeat(29));
    let cases = [
        ("hv:/a", separated),
        ("hv:/a,2", separated),
        ("hv:/a,2,0:1,3", format),
        (",2,0:1", format),
        ("hv:/a,,0:1", format),
        ("hv:/a,2,", format),
        ("dm:/a,2,0", format),
        ("hv:/a,2,0:x", format),
        ("hv:/a,2,0:0", duplicated),
        ("hv:/a,2,0:1:0", duplicated),
        ("hv:/a,2,0:3", unknown),
        ("hv:/a,2,0:10", unknown),
        (long.as_str(), length),
        ("hv:/a,x,0:1", number),
        ("hv:/a,2M,0:1", number),
        ("hv:/a,0x2,0:1", number),
        ("hv:/a,1,0:1", range),
        ("hv:/a,0,0:1", range),
        ("hv:/a,-2,0:1", range),
        ("hv:/a,1024,0:1", range),
        ("hv:/a,3,0:1", power),
        ("hv:/a,511,0:1", power),
    ];
    for (text, expected) in cases {
        assert_eq!(message(text), format!("{KEY}0: {expected}"), "{text}");
    }
}

#[test]
fn what_only_the_schema_refuses() {
    for text in [
        "a,2,0:1",
        "sos:/a,2,0:1",
        "hv:a,2,0:1",
        "hv:/a-b,2,0:1",
        "hv:/a ,2,0:1",
        "hv:/a,  2,0:1",
        "hv:/a,2,  0:1",
        "hv:/a,+2,0:1",
        " hv:/a,2,0:1",
    ] {
        let message = message(text);
        let start =
            format!("{KEY}0: \"{text}\" is not of the form hv:/NAME, MB, ID:ID or dm:/NAME");
        assert!(message.starts_with(&start), "{text}: {message}");
    }
}

#[test]
fn names_are_unique_with_their_prefix() {
    let same = text::parse(&["hv:/a,2,0:1", "hv:/a,4,1:2"], None).unwrap_err();
    assert_eq!(
        same.to_string(),
        format!("{KEY}1: The names of share memory regions should not be duplicated: hv:/a")
    );
    let other = text::parse(&["hv:/a,2,0:1", "dm:/a,2,0:1"], None).unwrap();
    assert_eq!(other.regions.len(), 2);
}

#[test]
fn eight_regions_and_empty_ones() {
    let texts: Vec<String> = (0..9).map(|n| format!("hv:/r{n},2,0:1")).collect();
    let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let error = text::parse(&texts, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{KEY}8: The number of hv-land shmem regions should not be greater than 8.")
    );
    texts[3] = " ";
    assert_eq!(text::parse(&texts, None).unwrap().regions.len(), 8);
}

#[test]
fn addresses_are_given_in_order() {
    let texts = ["hv:/a,2,0:1", "dm:/b,2,1:2", "hv:/c,2,1:2"];
    let scenario = text::parse(&texts, None).unwrap();
    let bdfs = |vm| -> Vec<String> {
        let members = scenario.regions.iter().flat_map(|region| &region.members);
        let of_vm = members.filter(|member| member.vm == vm);
        of_vm.map(|member| member.bdf.to_string()).collect()
    };
    assert_eq!(bdfs(0), ["00:08.0"]);
    assert_eq!(bdfs(1), ["00:08.0", "00:09.0", "00:0a.0"]);
    assert_eq!(bdfs(2), ["00:08.0", "00:09.0"]);
    let names: Vec<_> = scenario.vms.iter().map(|vm| vm.name.as_str()).collect();
    assert_eq!(names, ["VM0", "VM1", "VM2"]);
}
