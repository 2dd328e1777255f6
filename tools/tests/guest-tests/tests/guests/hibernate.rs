// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A machine hibernates while its device is in use, and goes on as another peer: to the server it is a new one.

use guest_tests::artefacts::Kernel;
use guest_tests::lab::expect_no_complaints;
use ivshmem::{Doorbell, Memory};
use ivshmem_peer::Peer;
use libtest_mimic::{Failed, Trial};
use std::sync::atomic::Ordering;
use test_limit::wait_until;
use vmbench::{Builder, Device, Region};

const SIZE: u64 = 1 << 20;
const VECTORS: u16 = 8;

/// Loading the image takes room beside it.
const MEMORY_MIB: u32 = 512;
const DISK_BYTES: u64 = (MEMORY_MIB as u64) << 20;

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let builder = kernel
        .guest()
        .memory_mib(MEMORY_MIB)
        .module(kernel.module()?)
        .file(kernel.program("resume")?, "/test/resume");
    let name = kernel.case("hibernate::everything_works_with_another_peer_id");
    Ok(vec![Trial::test(name, move || hibernate(&builder))])
}

fn hibernate(builder: &Builder) -> Result<(), Failed> {
    let region = Region::start(SIZE, VECTORS)?;
    let disk = tempfile::NamedTempFile::new()?;
    disk.as_file().set_len(DISK_BYTES)?;
    let program = builder.static_binary("ivshmemctl", "ivshmemctl")?;
    let builder = builder
        .clone()
        .file(program, "/bin/ivshmemctl")
        .device(Device::doorbell(&region))
        .swap_disk(disk.path())?;
    let guest = builder.boot()?;
    let booted = guest.kernel_mark()?;
    let start = "/test/resume sleep >/tmp/said 2>&1; echo $? >/tmp/status";
    drop(guest.command(["sh", "-c", start]).spawn()?);
    let wait_for = |guest: &vmbench::Guest, condition: &str| {
        guest.shell(&format!("until {condition}; do sleep 0.1; done"))
    };
    wait_for(&guest, "grep -q 'ready 0' /tmp/said")?.check()?;

    let (guest, others) = guest.hibernate(&builder, || {
        let others = [(); 2].map(|()| Peer::join(region.socket()).unwrap());
        // What the sleepers wait for changes while there is nobody to ring.
        others[0].store32(0, 1, Ordering::Release).unwrap();
        others
    })?;
    let ids = others.each_ref().map(Doorbell::peer_id);
    wait_for(&guest, "grep -q awake /tmp/said || [ -e /tmp/status ]")?.check()?;
    let info = guest
        .shell("ivshmemctl --json info")?
        .check()?
        .stdout_text();
    let info: serde_json::Value = serde_json::from_str(&info)?;
    let id = u32::try_from(info["peer_id"].as_u64().ok_or("no peer ID")?)?;
    assert!(id != 0 && !ids.contains(&id), "{id} beside {ids:?}");
    assert_eq!(info["generation"], 1, "{info}");

    // It is heard under the new ID, and so is the host.
    others[0].store32(0, 2, Ordering::Release)?;
    wait_until("its doorbell is known", || {
        others[0].try_ring(id, 0).is_ok_and(|rung| rung)
    });
    wait_for(&guest, "[ -s /tmp/status ]")?.check()?;
    let said = guest
        .shell("cat /tmp/said /tmp/status")?
        .check()?
        .stdout_text();
    assert!(said.ends_with('0'), "{said}");
    guest
        .shell(&format!("ivshmemctl ring {} 3", ids[1]))?
        .check()?;
    wait_until("the host is rung", || others[1].rings(3) == Some(1));
    expect_no_complaints(&guest, booted)
}
