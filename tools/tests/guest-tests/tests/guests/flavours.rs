// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The devices of hypervisors other than QEMU and ACRN: bound, or refused with the reason that the manual names.

use guest_tests::artefacts::{self, Kernel, Width};
use guest_tests::device::{contains, equal, node, run, until_asleep};
use guest_tests::lab::{expect_success, Fleet, Lab};
use ivshmem_model::flavour::Vmm;
use ivshmem_model::{Memory, Region};
use ivshmem_vfio_user::{Backing, Endpoint, Host};
use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;
use vmbench::{Builder, Guest};

/// What the guest is given: samples, and the selftest for devices without a doorbell.
const PROGRAMS: [&str; 4] = ["map", "plain", "read_events", "ring_doorbell"];

/// Where `map` writes.
const TEXT_AT: u64 = 4096;

/// Slots of the devices.
const CLOUD_HYPERVISOR: u8 = 0x10;
const KVMTOOL: u8 = 0x11;
const STRATOVIRT: u8 = 0x12;

/// The size in Cloud Hypervisor's own example.
const CLOUD_HYPERVISOR_BYTES: u64 = 1 << 20;
const STRATOVIRT_BYTES: u64 = 2 << 20;

/// kvmtool's BAR0 asks for as many I/O ports as the memory has bytes.
#[derive(Clone, Copy)]
struct KvmTool {
    bytes: u64,
    /// What the driver says of it.
    message: &'static str,
}

/// As many as the firmware of a PC has room for: it stops at more.
const FEW_PORTS: KvmTool = KvmTool {
    bytes: 4096,
    message: "BAR0 is I/O ports, not memory",
};

/// kvmtool's default. No register for ports can say as many, so that Linux finds no BAR0 at all.
const MANY_PORTS: KvmTool = KvmTool {
    bytes: 16 << 20,
    message: "cannot map the registers",
};

/// Memories and sockets of the devices.
struct World {
    cloud_hypervisor: Host,
    stratovirt: Host,
    _endpoints: Vec<Endpoint>,
    _directory: TempDir,
}

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let kvmtool = match kernel.runs_x86()? {
        true => FEW_PORTS,
        // That machine has no firmware.
        false => MANY_PORTS,
    };
    let mut guest = kernel.guest().module(kernel.module()?);
    for name in PROGRAMS {
        guest = guest.file(kernel.program(name)?, format!("/test/{name}"));
    }
    let lab = Lab::on(kernel, move || {
        let (builder, world) = with_devices(&guest, kvmtool)
            .map_err(|error| vmbench::Error::Setup(format!("the devices: {error}")))?;
        Ok(Fleet {
            guests: vec![builder.boot()?],
            world: Box::new(world),
        })
    });
    let mut trials = vec![
        lab.trial(
            "flavours::cloud_hypervisor::is_bound_without_a_doorbell",
            cloud_hypervisor,
        ),
        lab.trial(
            "flavours::cloud_hypervisor::memory_is_shared_with_the_host",
            |fleet| shared(fleet, CLOUD_HYPERVISOR, &world(fleet)?.cloud_hypervisor),
        ),
        lab.trial("flavours::kvmtool::is_refused", move |fleet| {
            refused(&fleet.guests[0], kvmtool)
        }),
        lab.trial("flavours::stratovirt::is_bound_with_vectors", stratovirt),
        lab.trial(
            "flavours::stratovirt::memory_is_shared_with_the_host",
            |fleet| shared(fleet, STRATOVIRT, &world(fleet)?.stratovirt),
        ),
        lab.trial(
            "flavours::stratovirt::the_host_is_heard_and_a_ring_is_not",
            interrupts,
        ),
    ];
    // What the interface promises of a device without a doorbell. The host lists the cases, with a program that it
    // can run.
    for case in artefacts::cases(&artefacts::program("plain", Width::Bits64)?)? {
        let name = format!("flavours::cloud_hypervisor::{case}");
        trials.push(lab.trial(name, move |fleet| {
            let guest = &fleet.guests[0];
            let command = guest.command(["/test/plain", &case]);
            let node = node(guest, CLOUD_HYPERVISOR)?;
            expect_success(command.env("IVSHMEM_PLAIN", node).run())
        }));
    }
    Ok(trials)
}

/// One guest with one device of each hypervisor.
fn with_devices(builder: &Builder, kvmtool: KvmTool) -> std::io::Result<(Builder, World)> {
    let directory = tempfile::tempdir()?;
    let mut builder = builder.clone();
    let mut endpoints = Vec::new();
    let mut plug = |flavour: Vmm, slot: u8, bytes: u64| -> std::io::Result<Host> {
        let name = format!("{slot:02x}");
        let host = Host::new(Region::new(flavour, Backing::anonymous(&name, bytes)?));
        let endpoint = host.listen(0, &directory.path().join(name))?;
        let place = format!("{{\"addr\":\"{slot:02x}.0\",");
        let device = endpoint.qemu_device().replacen('{', &place, 1);
        builder = builder.clone().qemu_args(["-device".to_string(), device]);
        endpoints.push(endpoint);
        Ok(host)
    };
    let cloud_hypervisor = plug(
        Vmm::CLOUD_HYPERVISOR,
        CLOUD_HYPERVISOR,
        CLOUD_HYPERVISOR_BYTES,
    )?;
    plug(Vmm::KVMTOOL, KVMTOOL, kvmtool.bytes)?;
    let stratovirt = plug(Vmm::STRATOVIRT, STRATOVIRT, STRATOVIRT_BYTES)?;
    let world = World {
        cloud_hypervisor,
        stratovirt,
        _endpoints: endpoints,
        _directory: directory,
    };
    Ok((builder, world))
}

fn world(fleet: &Fleet) -> Result<&World, Failed> {
    let world = fleet.world.downcast_ref::<World>();
    world.ok_or_else(|| "the fleet has another world".into())
}

/// Files of a device in sysfs, a line each.
fn attributes(guest: &Guest, slot: u8, names: &str) -> Result<String, Failed> {
    let script = format!("cd /sys/bus/pci/devices/0000:00:{slot:02x}.0 && cat {names}");
    Ok(guest.shell(&script)?.check()?.stdout_text())
}

/// The lines of the kernel log about a device.
fn log(guest: &Guest, slot: u8) -> Result<String, Failed> {
    let log = guest.kernel_log()?;
    let mine = format!("ivshmem_rs 0000:00:{slot:02x}.0: ");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&mine)).collect();
    Ok(lines.join("\n"))
}

const IDENTITY: &str = "subsystem_vendor subsystem_device revision class";
const FACTS: &str = "ivshmem/size ivshmem/peer_id ivshmem/vectors ivshmem/cache";

fn cloud_hypervisor(fleet: &Fleet) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let identity = attributes(guest, CLOUD_HYPERVISOR, IDENTITY)?;
    equal(identity.as_str(), "0x0000\n0x0000\n0x01\n0x050000")?;
    let facts = attributes(guest, CLOUD_HYPERVISOR, FACTS)?;
    let expected = format!("{CLOUD_HYPERVISOR_BYTES}\n0\n0\nwrite-back");
    equal(facts, expected)?;
    contains(
        &log(guest, CLOUD_HYPERVISOR)?,
        "1024 KiB of shared memory (write-back), no doorbell",
    )
}

fn stratovirt(fleet: &Fleet) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let identity = attributes(guest, STRATOVIRT, IDENTITY)?;
    equal(identity.as_str(), "0x0000\n0x0000\n0x01\n0x050000")?;
    let facts = attributes(guest, STRATOVIRT, FACTS)?;
    let expected = format!("{STRATOVIRT_BYTES}\n0\n2\nwrite-back");
    equal(facts, expected)?;
    contains(
        &log(guest, STRATOVIRT)?,
        "2048 KiB of shared memory (write-back), peer 0, 2 of 2 vectors",
    )
}

fn refused(guest: &Guest, kvmtool: KvmTool) -> Result<(), Failed> {
    let identity = attributes(guest, KVMTOOL, IDENTITY)?;
    equal(identity.as_str(), "0x0000\n0x0000\n0x00\n0xff0000")?;
    let device = format!("/sys/bus/pci/devices/0000:00:{KVMTOOL:02x}.0");
    let script = format!("[ ! -e {device}/driver ] && [ ! -e {device}/misc ]");
    guest.shell(&script)?.check()?;
    contains(&log(guest, KVMTOOL)?, kvmtool.message)
}

/// What the guest writes is what the host reads, and the other way round.
fn shared(fleet: &Fleet, slot: u8, host: &Host) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let text = "from the guest";
    run(guest, slot, "map", &[text])?;
    let mut seen = vec![0; text.len()];
    host.with(|region| region.memory().read(TEXT_AT, &mut seen));
    equal(String::from_utf8_lossy(&seen).as_ref(), text)?;
    let text = "from the host";
    host.with(|region| {
        region
            .memory_mut()
            .write(TEXT_AT, format!("{text}\0").as_bytes())
    });
    equal(run(guest, slot, "map", &[])?, text.into())
}

/// A ring is no error and has no effect, also not on the guest itself; what the host raises wakes it.
fn interrupts(fleet: &Fleet) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let node = node(guest, STRATOVIRT)?;
    let waiting = guest
        .command(["/test/read_events", "-d", &node, "-w"])
        .spawn()?;
    until_asleep(guest, "read_events")?;
    run(guest, STRATOVIRT, "ring_doorbell", &["0", "0"])?;
    world(fleet)?.stratovirt.ring(0, 0, 1);
    let expected = "this is peer 0, waiting\nvector 1: count 1";
    equal(waiting.wait()?.check()?.stdout_text(), expected.into())?;
    // The ring was first: had it interrupted anybody, it would have been counted by now.
    let counts = attributes(guest, STRATOVIRT, "ivshmem_statistics/interrupts")?;
    equal(counts.as_str(), "0 1")
}
