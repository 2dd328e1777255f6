// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Devices that come and go through QEMU's monitor while programs use them.

use std::path::Path;

use guest_tests::artefacts::Kernel;
use guest_tests::lab::{Fleet, Lab};
use ivshmem_peer::Peer;
use libtest_mimic::{Failed, Trial};
use rustix::process::Signal;
use serde_json::json;
use vmbench::{Guest, Memory, Region};

const SIZE: u64 = 1 << 20;

/// QEMU's name of what [`plug`] plugs.
pub const PLUGGED: &str = "device";

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let builder = kernel
        .guest()
        .cpus(2)
        .root_ports(3)
        .module(kernel.module()?)
        .file(kernel.program("removal")?, "/test/removal")
        .file(kernel.program("reset")?, "/test/reset");
    let lab = Lab::on(kernel, move || {
        let memory = Memory::anonymous(SIZE)?;
        let guest = builder.clone().memory_object("plain", &memory).boot()?;
        Ok(Fleet {
            guests: vec![guest],
            world: Box::new(()),
        })
    });
    Ok(vec![
        lab.trial("unplug::doorbell_open_mapped_and_waited_for", doorbell),
        lab.trial("unplug::doorbell_comes_back", doorbell),
        lab.trial("unplug::plain_comes_and_goes", plain),
        lab.trial("unplug::a_device_comes_back_after_an_error", recovers),
        lab.trial(
            "unplug::a_device_that_is_reset_comes_back_after_an_error",
            recovers_in_reset,
        ),
        lab.trial("unplug::a_device_that_is_given_up_is_gone", is_lost),
        lab.trial("unplug::a_device_that_is_given_up_stays_gone", stays_lost),
        lab.trial("unplug::a_device_in_use_is_reset", reset),
    ])
}

/// Waits until the node is there.
fn wait_for_node(guest: &Guest, node: &str) -> vmbench::Result<()> {
    guest
        .shell(&format!("until [ -c {node} ]; do sleep 0.1; done"))?
        .check()?;
    Ok(())
}

/// Plugs an `ivshmem-doorbell` that is connected to the server at `socket` into the root port `bus`, and
/// waits for its node.
pub fn plug(guest: &Guest, socket: &Path, bus: &str) -> vmbench::Result<()> {
    plug_as(PLUGGED, guest, socket, bus)?;
    wait_for_node(guest, "/dev/ivshmem0")
}

/// As [`plug`], with the name `id` for QEMU, and without waiting.
pub fn plug_as(id: &str, guest: &Guest, socket: &Path, bus: &str) -> vmbench::Result<()> {
    connect(id, guest, socket)?;
    guest.qmp().execute(
        "device_add",
        json!({"driver": "ivshmem-doorbell", "id": id, "bus": bus, "chardev": chardev_of(id), "vectors": 8}),
    )?;
    Ok(())
}

/// Connects to the server at `socket`, for the device `id`.
fn connect(id: &str, guest: &Guest, socket: &Path) -> vmbench::Result<()> {
    let address = json!({"type": "unix", "data": {"path": socket}});
    let backend = json!({"type": "socket", "data": {"addr": address, "server": false}});
    guest.qmp().execute(
        "chardev-add",
        json!({"id": chardev_of(id), "backend": backend}),
    )?;
    Ok(())
}

/// Unplugs what [`plug`] plugged, and waits until it is gone.
pub fn unplug(guest: &Guest) -> Result<(), Failed> {
    guest.qmp().unplug(PLUGGED)?;
    disconnect(guest)
}

/// Ends the connection to the server of what [`plug`] plugged, which outlives the device.
pub fn disconnect(guest: &Guest) -> Result<(), Failed> {
    guest
        .qmp()
        .execute("chardev-remove", json!({"id": chardev_of(PLUGGED)}))?;
    Ok(())
}

fn chardev_of(id: &str) -> String {
    format!("{id}-socket")
}

fn doorbell(fleet: &Fleet) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let region = Region::start(SIZE, 8)?;
    plug(guest, &region.socket(), "port0")?;
    let mut user = guest
        .command(["/test/removal", "--wait-for-unplug"])
        .spawn()?;
    user.wait_for_output("ready")?;
    unplug(guest)?;
    user.wait()?.check()?;
    guest.shell("[ ! -e /dev/ivshmem0 ]")?.check()?;
    match guest.kernel_log()?.contains("ivshmem0: removed") {
        true => Ok(()),
        false => Err("the driver does not say that the device is gone".into()),
    }
}

/// A device behind a port of its own can be reset alone. A peer of it is not.
///
/// The last case of its guest, in which both devices stay: QEMU can crash when a doorbell device is unplugged one of
/// whose peers has left.
fn reset(fleet: &Fleet) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let region = Region::start(SIZE, 8)?;
    plug(guest, &region.socket(), "port0")?;
    plug_as("peer", guest, &region.socket(), "port1")?;
    wait_for_node(guest, "/dev/ivshmem1")?;
    // With a skipped case it exits with something else than 0.
    guest
        .command(["/test/reset"])
        .env("IVSHMEM_DEV2", "/dev/ivshmem1")
        .run()?
        .check()?;
    Ok(())
}

fn plain(fleet: &Fleet) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    guest.qmp().execute(
        "device_add",
        json!({"driver": "ivshmem-plain", "id": "device", "bus": "port1", "memdev": "plain"}),
    )?;
    wait_for_node(guest, "/dev/ivshmem0")?;
    let log = guest.kernel_log()?;
    if !log.contains("no doorbell") {
        return Err(format!("the driver does not say that there is no doorbell:\n{log}").into());
    }
    guest.qmp().unplug("device")?;
    guest.shell("[ ! -e /dev/ivshmem0 ]")?.check()?;
    Ok(())
}

/// QEMU's name of an error of the link, after which the kernel resets what is behind the port.
const FATAL: &str = "DLP";

/// QEMU's name of a request without an answer, after which the kernel resets nothing unasked.
const NOT_FATAL: &str = "COMP_TIME";

/// An error on the way to the device, which QEMU injects into the port `port`.
fn error_of(guest: &Guest, port: &str, error: &str) -> Result<(), Failed> {
    let counted = guest.shell("ls /sys/bus/pci/devices/*/aer_dev_fatal")?;
    if !counted.success() {
        return Err("this kernel does not hear of errors: it lacks CONFIG_PCIEAER".into());
    }
    let command = format!("pcie_aer_inject_error {port} {error}");
    guest
        .qmp()
        .execute("human-monitor-command", json!({"command-line": command}))?;
    Ok(())
}

/// The kernel resets what is behind the port, and the driver takes part.
fn recovers(fleet: &Fleet) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let region = Region::start(SIZE, 8)?;
    plug(guest, &region.socket(), "port0")?;
    let mut user = guest.command(["/test/reset", "--wait-for-error"]).spawn()?;
    user.wait_for_output("ready")?;
    error_of(guest, "port0", FATAL)?;
    user.wait()?.check()?;
    unplug(guest)
}

/// The same while an administrator resets the device: he comes in between the steps of the recovery.
fn recovers_in_reset(fleet: &Fleet) -> Result<(), Failed> {
    const RECOVERED: &str = "device recovery successful";

    let guest = &fleet.guests[0];
    let region = Region::start(SIZE, 8)?;
    plug(guest, &region.socket(), "port0")?;
    let before = guest.kernel_log()?.matches(RECOVERED).count();
    let mut user = guest
        .command(["/test/reset", "--reset-until-told"])
        .spawn()?;
    user.wait_for_output("ready")?;
    error_of(guest, "port0", FATAL)?;
    guest
        .shell(&format!(
            "until [ $(dmesg | grep -c '{RECOVERED}') -gt {before} ]; do sleep 0.1; done"
        ))?
        .check()?;
    user.signal(Signal::USR1)?;
    user.wait()?.check()?;
    unplug(guest)
}

/// Plugs a device with a function beside it that has no driver: after an error the kernel gives up both.
fn plug_beside_another(guest: &Guest, region: &Region) -> Result<(), Failed> {
    connect(PLUGGED, guest, &region.socket())?;
    guest.qmp().execute(
        "device_add",
        json!({"driver": "pci-testdev", "id": "other", "bus": "port2", "addr": "0.1"}),
    )?;
    guest.qmp().execute(
        "device_add",
        json!({"driver": "ivshmem-doorbell", "id": PLUGGED, "bus": "port2", "addr": "0.0",
               "multifunction": true, "chardev": chardev_of(PLUGGED)}),
    )?;
    wait_for_node(guest, "/dev/ivshmem0")?;
    Ok(())
}

fn is_lost(fleet: &Fleet) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let region = Region::start(SIZE, 8)?;
    plug_beside_another(guest, &region)?;
    let mut rings = guest
        .command(["/test/reset", "--ring-to-the-end"])
        .spawn()?;
    rings.wait_for_output("ready")?;
    error_of(guest, "port2", FATAL)?;
    rings.wait()?.check()?;
    // Who opens the node is told that the device is gone.
    guest
        .shell("until error=$(cat /dev/ivshmem0 2>&1); [ \"${error%No such device}\" != \"$error\" ]; do sleep 0.1; done")?
        .check()?;
    // The kernel has reset it, and brought nothing back.
    let device = guest
        .shell("readlink -f /sys/class/misc/ivshmem0/device")?
        .check()?
        .stdout_text();
    let device = device.trim();
    guest
        .shell(&format!(
            "cd /sys/bus/pci/drivers/ivshmem_rs && device=$(basename {device}) && echo $device >unbind && \
             ! echo $device >bind && [ ! -e /dev/ivshmem0 ]"
        ))?
        .check()?;
    if !guest
        .kernel_log()?
        .contains("its addresses were not brought back")
    {
        return Err("the driver does not say why it refuses the device".into());
    }
    guest
        .shell(&format!(
            "echo 1 >{device}/remove && echo 1 >/sys/bus/pci/rescan"
        ))?
        .check()?;
    wait_for_node(guest, "/dev/ivshmem0")?;
    unplug(guest)?;
    guest.shell("[ ! -e /dev/ivshmem0 ]")?.check()?;
    Ok(())
}

/// The device itself works on: it is rung, and reset.
fn stays_lost(fleet: &Fleet) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let region = Region::start(SIZE, 8)?;
    plug_beside_another(guest, &region)?;
    // Stays until the device is unplugged: see `reset`.
    let peer = Peer::join(region.socket())?;
    let mut user = guest
        .command(["/test/reset", "--look-past-the-end"])
        .spawn()?;
    let said = user.wait_for_output("ready ")?;
    let id = said.trim_start_matches("ready ").trim().parse()?;
    error_of(guest, "port2", NOT_FATAL)?;
    user.wait_for_output("gone")?;
    if !peer.try_ring(id, 0)? {
        return Err("the server has told of no device".into());
    }
    // With the other function, it could not be reset.
    guest
        .shell(
            "device=$(readlink -f /sys/class/misc/ivshmem0/device) && echo 1 >${device%.0}.1/remove && \
             echo 1 >$device/reset",
        )?
        .check()?;
    user.signal(Signal::USR1)?;
    user.wait()?.check()?;
    unplug(guest)?;
    guest.shell("[ ! -e /dev/ivshmem0 ]")?.check()?;
    Ok(())
}
