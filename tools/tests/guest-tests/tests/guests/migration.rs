// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A guest with a doorbell device moves, while its programs run, to another QEMU on another server.

use std::time::Duration;

use guest_tests::artefacts::Kernel;
use guest_tests::lab::expect_no_complaints;
use ivshmem::Memory;
use ivshmem_peer::Peer;
use libtest_mimic::{Failed, Trial};
use test_limit::{limit_argument, wait_until};
use vmbench::{Builder, Device, Guest, Region};

const SIZE: u64 = 1 << 20;
const VECTORS: u16 = 4;

/// Where the host writes, and where the guest does.
const FROM_HOST: u64 = 0x1000;
const FROM_GUEST: u64 = 0x2000;

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let builder = kernel.guest().module(kernel.module()?);
    let refused = builder.clone();
    Ok(vec![
        Trial::test(
            kernel.case("migration::moves_memory_sleepers_and_rings"),
            move || migrate(&builder),
        ),
        Trial::test(
            kernel.case("migration::is_refused_without_master"),
            move || refuse(&refused),
        ),
    ])
}

/// A guest's description, on this region.
fn on(builder: &Builder, region: &Region) -> vmbench::Result<Builder> {
    let program = builder.static_binary("ivshmemctl", "ivshmemctl")?;
    Ok(builder
        .clone()
        .file(program, "/bin/ivshmemctl")
        .device(Device::doorbell(region)))
}

/// The same, with the memory as a part of the machine's state. Its QEMU has to be the server's first client.
fn master(builder: &Builder, region: &Region) -> vmbench::Result<Builder> {
    Ok(on(builder, region)?.qemu_args(["-global", "ivshmem-doorbell.master=on"]))
}

fn migrate(builder: &Builder) -> Result<(), Failed> {
    let (here, there) = (Region::start(SIZE, VECTORS)?, Region::start(SIZE, VECTORS)?);
    let guest = master(builder, &here)?.boot()?;
    let booted = guest.kernel_mark()?;
    let old = Peer::join(here.socket())?;
    old.write(FROM_HOST, b"before")?;
    sleep_for_vector_2(&guest)?;

    let guest = guest.migrate(&master(builder, &there)?)?;
    wait_until("the old host hears that it has gone", || {
        let members = old.wait_members(0, Some(Duration::ZERO));
        members.peers.is_empty()
    });
    let new = Peer::join(there.socket())?;
    // All of the memory went along, and is that of the new server.
    let mut text = [0; 6];
    new.read(FROM_HOST, &mut text)?;
    assert_eq!(&text, b"before");
    guest
        .shell(&format!("ivshmemctl poke {FROM_GUEST} 0x12345678"))?
        .check()?;
    let mut word = [0; 4];
    new.read(FROM_GUEST, &mut word)?;
    assert_eq!(u32::from_le_bytes(word), 0x1234_5678);

    // Who slept before hears the new host, and is heard.
    assert_eq!(guest.shell("cat /tmp/heard")?.check()?.stdout_text(), "");
    wait_until("its doorbell is known", || {
        new.try_ring(0, 2).is_ok_and(|rung| rung)
    });
    guest
        .shell("until [ -s /tmp/heard ]; do sleep 0.1; done")?
        .check()?;
    guest.shell("ivshmemctl ring 1 3")?.check()?;
    wait_until("the new host is rung", || new.rings(3) == Some(1));
    expect_no_complaints(&guest, booted)
}

/// Leaves a program behind that sleeps in the driver until vector 2 is rung, and then writes to `/tmp/heard`.
fn sleep_for_vector_2(guest: &Guest) -> Result<(), Failed> {
    let limit = limit_argument();
    guest
        .shell(&format!(
            "ivshmemctl wait --vectors 2 --timeout {limit} >/tmp/heard 2>&1 &
             until grep -q ivshmem_rs /proc/$!/wchan; do sleep 0.1; done"
        ))?
        .check()?;
    Ok(())
}

/// QEMU's default: the memory stays where it is, and with it the machine.
fn refuse(builder: &Builder) -> Result<(), Failed> {
    let (here, there) = (Region::start(SIZE, VECTORS)?, Region::start(SIZE, VECTORS)?);
    let guest = on(builder, &here)?.boot()?;
    let error = guest.migrate(&on(builder, &there)?).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("peer mode"), "{said}");
    // It runs on.
    guest.shell("ivshmemctl ring 0 0")?.check()?;
    Ok(())
}
