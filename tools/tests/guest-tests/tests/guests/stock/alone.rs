// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A machine without the module whose devices come and go, and want more interrupts than it has.

use guest_tests::artefacts::{Kernel, StockKernel};
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use vmbench::{Device, Guest, Region, Running, Signal, Status};

use super::{bind, channels, run, unbind, without_module, PROGRAM};
use crate::guests::unplug::{disconnect, plug_as, unplug, PLUGGED};

const SIZE: u64 = 1 << 20;

/// More than the vectors of one processor.
const DEVICES: usize = 4;
const VECTORS: u16 = 64;

type Case = fn(&Guest, &Region) -> Result<(), Failed>;

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let image = StockKernel::beside(kernel)?;
    let lab = Lab::on(kernel, move || {
        let region = Region::start(SIZE, VECTORS)?;
        let guest = kernel.guest().root_ports(1).name("alone");
        let guest = guest
            .clone()
            .file(guest.static_binary("ivshmemctl", "ivshmemctl")?, PROGRAM);
        let guest = channels::with_c(without_module(guest, &image)?)?;
        let device = Device::doorbell(&region);
        let guest = (0..DEVICES).fold(guest, |guest, _| guest.device(device.clone()));
        Ok(Fleet {
            guests: vec![guest.boot()?],
            world: Box::new(region),
        })
    });
    let cases: [(&str, Case); 3] = [
        ("as_many_vectors_as_there_are_interrupts", few_interrupts),
        ("a_program_by_vfio_pci_lets_an_unplugged_device_go", asked),
        (
            "a_program_by_sysfs_knows_its_device_from_the_next",
            replaced,
        ),
    ];
    let trial = |(name, case): (&str, Case)| {
        lab.trial(format!("stock::alone::{name}"), move |fleet| {
            let region = fleet.world.downcast_ref().ok_or("another world")?;
            case(&fleet.guests[0], region)
        })
    };
    Ok(cases.map(trial).into())
}

fn addresses(guest: &Guest) -> Result<Vec<String>, Failed> {
    let list = run(guest, "--json list")?.check()?.stdout_text();
    let list: Vec<Value> = serde_json::from_str(&list)?;
    let address = |device: &Value| Some(device["bus_id"].as_str()?.to_string());
    Ok(list.iter().filter_map(address).collect())
}

/// Plugs a device, and waits for its address.
fn plugged(guest: &Guest, region: &Region) -> Result<String, Failed> {
    let before = addresses(guest)?;
    plug_as(PLUGGED, guest, &region.socket(), "port0")?;
    loop {
        let new = addresses(guest)?;
        if let Some(address) = new.into_iter().find(|a| !before.contains(a)) {
            return Ok(address);
        }
    }
}

/// A program that waits, by the device at `address`, when it has said so.
fn waiter<'a>(guest: &'a Guest, address: &str, what: &str) -> Result<Running<'a>, Failed> {
    let script = format!("exec {PROGRAM} wait -d {address} {what} 2>&1");
    let mut waiter = guest.command(["sh", "-c", &script]).spawn()?;
    waiter.wait_for_output("note: by")?;
    Ok(waiter)
}

fn expect_gone(waiter: Running<'_>) -> Result<(), Failed> {
    let ended = waiter.wait()?;
    assert_eq!(ended.status, Status::Code(3), "{}", ended.stdout_text());
    assert!(ended.stdout_text().contains("the device is gone"));
    Ok(())
}

/// All devices are open at once, with as many vectors as the kernel has left.
fn few_interrupts(guest: &Guest, _: &Region) -> Result<(), Failed> {
    let addresses = addresses(guest)?;
    assert_eq!(addresses.len(), DEVICES);
    let mut holders = Vec::new();
    let mut armed = Vec::new();
    for address in &addresses {
        bind(guest, address, "vfio-pci")?;
        let mut holder = guest.command(["link", address, "pong", "1"]).spawn()?;
        // It says both at once.
        let said = holder.wait_for_output(" vectors")?;
        let vectors = said.split(' ').next().unwrap_or_default();
        armed.push(vectors.parse::<u16>()?);
        holders.push(holder);
    }
    assert_eq!(armed[0], VECTORS, "{armed:?}");
    assert!(armed.iter().any(|vectors| *vectors < VECTORS), "{armed:?}");
    for (holder, address) in holders.into_iter().zip(&addresses) {
        holder.signal(Signal::KILL)?;
        holder.wait()?;
        unbind(guest, address, "vfio-pci")?;
    }
    // What was let go is there for others.
    bind(guest, &addresses[DEVICES - 1], "vfio-pci")?;
    let said = guest.run(["link", &addresses[DEVICES - 1], "check"])?;
    let said = said.check()?.stdout_text();
    assert!(said.starts_with("64 vectors"), "{said}");
    unbind(guest, &addresses[DEVICES - 1], "vfio-pci")
}

/// Removal waits for the program, which hears of it and ends.
fn asked(guest: &Guest, region: &Region) -> Result<(), Failed> {
    let address = plugged(guest, region)?;
    bind(guest, &address, "vfio-pci")?;
    let waiter = waiter(guest, &address, "")?;
    unplug(guest)?;
    expect_gone(waiter)
}

/// Its mapping is that of the next device in the same place; it does not take that for its own.
fn replaced(guest: &Guest, region: &Region) -> Result<(), Failed> {
    let address = plugged(guest, region)?;
    run(guest, &format!("poke -d {address} 0x3000 0"))?.check()?;
    let waiter = waiter(guest, &address, "--word 0x3000=0")?;
    waiter.signal(Signal::STOP)?;
    guest.qmp().unplug(PLUGGED)?;
    disconnect(guest)?;
    assert_eq!(plugged(guest, region)?, address);
    // The new device answers.
    run(guest, &format!("poke -d {address} 0x4000 1"))?.check()?;
    waiter.signal(Signal::CONT)?;
    expect_gone(waiter)?;
    unplug(guest)
}
