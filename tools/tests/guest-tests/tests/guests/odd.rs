// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Devices with a fault: the driver says what is wrong, and binds them only where that is safe.

use guest_tests::artefacts;
use guest_tests::lab::{Fleet, Lab};
use ivshmem_model::config::offset;
use ivshmem_model::flavour::{Birth, Flavour, Outcome, Qemu, Ring};
use ivshmem_model::{Function, Region, Width};
use ivshmem_vfio_user::{Backing, Endpoint, Host};
use libtest_mimic::{Failed, Trial};
use tempfile::TempDir;
use vmbench::{Builder, Guest};

const SIZE: u64 = 1 << 20;
const FIRST_SLOT: usize = 0x10;

/// Where a device lies that is alone behind a port, so that it can be reset.
const BEHIND_PORT: &str = "0000:01:00.0";

/// A device that differs from QEMU's in one thing.
struct Odd {
    name: &'static str,
    change: fn(&mut Function),
    bound: bool,
    /// What the kernel log says of it.
    message: &'static str,
}

const ODD: [Odd; 8] = [
    Odd {
        name: "bar2_is_missing",
        change: |function| function.bars[2].size = 0,
        bound: false,
        message: "no shared memory: BAR2 is missing",
    },
    Odd {
        name: "bar2_is_smaller_than_a_page",
        change: |function| function.bars[2].size = 2048,
        bound: false,
        message: "BAR2 has 2048 bytes: not a power of two of at least a page",
    },
    Odd {
        name: "bar2_holds_the_msix_table",
        change: |function| move_msix(function, 2, 0, 2048),
        bound: false,
        message: "BAR2 holds the MSI-X table",
    },
    Odd {
        name: "bar0_holds_the_msix_table_and_is_not_mapped",
        change: |function| move_msix(function, 0, 64, 128),
        bound: true,
        message: "map_registers=1 ignored: BAR0's page holds something else",
    },
    // As kvmtool's device.
    Odd {
        name: "bar0_is_io_ports",
        change: |function| make_io_ports(function, 0, 256),
        bound: false,
        message: "BAR0 is I/O ports, not memory",
    },
    Odd {
        name: "bar2_is_io_ports",
        change: |function| make_io_ports(function, 2, 4096),
        bound: false,
        message: "BAR2 is I/O ports, not memory",
    },
    Odd {
        name: "bar0_is_missing",
        change: |function| function.bars[0].size = 0,
        bound: false,
        message: "cannot map the registers",
    },
    Odd {
        name: "peer_id_is_none",
        change: |function| function.registers.position = u32::MAX,
        bound: true,
        message: "peer ID 4294967295 of the device is none",
    },
];

/// Says that table and pending bits of MSI-X are in another BAR.
fn move_msix(function: &mut Function, bar: u32, table: u32, pending: u32) {
    function.config.set_u32(offset::MSIX + 4, table | bar);
    function.config.set_u32(offset::MSIX + 8, pending | bar);
}

/// Says that a BAR is so many I/O ports.
fn make_io_ports(function: &mut Function, bar: usize, size: u64) {
    const IO_SPACE: u32 = 1;

    function.bars[bar].size = size;
    function.bars[bar].flags = IO_SPACE;
    // CAST: A BAR number.
    let register = offset::BAR + 4 * bar as u16;
    function.config.set_u32(register, IO_SPACE);
}

/// The rules of QEMU's device over a changed one.
#[derive(Debug)]
struct Changed {
    rules: Qemu,
    change: fn(&mut Function),
}

impl Flavour for Changed {
    fn name(&self) -> &'static str {
        "odd"
    }

    fn peers(&self) -> u32 {
        self.rules.peers()
    }

    fn create(&self, birth: &Birth) -> Function {
        let mut function = self.rules.create(birth);
        (self.change)(&mut function);
        function
    }

    fn place_bar(&self, function: &mut Function, bar: usize, address: u64) {
        self.rules.place_bar(function, bar, address);
    }

    /// QEMU resets the device before it starts.
    fn reset(&self, function: &mut Function, birth: &Birth) {
        self.rules.reset(function, birth);
        (self.change)(function);
    }

    fn config_write(&self, function: &mut Function, offset: u16, width: Width, value: u64) {
        self.rules.config_write(function, offset, width, value);
    }

    fn register_read(&self, function: &mut Function, offset: u64, width: Width) -> u64 {
        self.rules.register_read(function, offset, width)
    }

    fn register_write(
        &self,
        function: &mut Function,
        offset: u64,
        width: Width,
        value: u64,
        ring: &mut dyn FnMut(Ring),
    ) {
        self.rules
            .register_write(function, offset, width, value, ring);
    }

    fn msix_read(&self, function: &mut Function, offset: u64, width: Width) -> u64 {
        self.rules.msix_read(function, offset, width)
    }

    fn msix_write(&self, function: &mut Function, offset: u64, width: Width, value: u64) {
        self.rules.msix_write(function, offset, width, value);
    }

    fn interrupt(&self, function: &mut Function, vector: u16) -> Outcome {
        self.rules.interrupt(function, vector)
    }
}

/// What serves the devices.
struct World {
    _endpoints: Vec<Endpoint>,
    _directory: TempDir,
}

pub fn cases() -> Result<Vec<Trial>, String> {
    let builder = Guest::builder().module_with(artefacts::module()?, "map_registers=1");
    let lab = Lab::new(move || boot(&builder));
    let trial = |(number, odd): (usize, &'static Odd)| {
        let name = format!("odd::{}", odd.name);
        lab.trial(name, move |fleet| judged(&fleet.guests[0], odd, number))
    };
    let mut trials: Vec<_> = ODD.iter().enumerate().map(trial).collect();
    trials.push(
        lab.trial("odd::the_peer_id_after_a_reset_is_read_again", |fleet| {
            renamed(&fleet.guests[0])
        }),
    );
    Ok(trials)
}

fn boot(builder: &Builder) -> vmbench::Result<Fleet> {
    let (builder, world) = with_devices(builder)
        .map_err(|error| vmbench::Error::Setup(format!("the devices: {error}")))?;
    Ok(Fleet {
        guests: vec![builder.boot()?],
        world: Box::new(world),
    })
}

fn with_devices(builder: &Builder) -> std::io::Result<(Builder, World)> {
    let directory = tempfile::tempdir()?;
    let mut endpoints = Vec::new();
    let mut builder = builder
        .clone()
        .qemu_args(["-device", "pcie-root-port,id=socket"]);
    let mut plug = |name, change, place: &str| -> std::io::Result<()> {
        let rules = Qemu::doorbell(2).ok_or(std::io::ErrorKind::InvalidInput)?;
        let memory = Backing::anonymous(name, SIZE)?;
        let host = Host::new(Region::new(Changed { rules, change }, memory));
        let endpoint = host.listen(0, &directory.path().join(name))?;
        let device = endpoint
            .qemu_device()
            .replacen('{', &format!("{{{place},"), 1);
        builder = builder.clone().qemu_args(["-device".to_string(), device]);
        endpoints.push(endpoint);
        Ok(())
    };
    for (number, odd) in ODD.iter().enumerate() {
        plug(
            odd.name,
            odd.change,
            &format!("\"addr\":\"{:02x}.0\"", FIRST_SLOT + number),
        )?;
    }
    plug(
        "renamed",
        |function| function.registers.position += 1,
        "\"bus\":\"socket\"",
    )?;
    let world = World {
        _endpoints: endpoints,
        _directory: directory,
    };
    Ok((builder, world))
}

/// The device is bound or not, and the kernel log says of it what it should.
fn judged(guest: &Guest, odd: &Odd, number: usize) -> Result<(), Failed> {
    let bus_id = format!("0000:00:{:02x}.0", FIRST_SLOT + number);
    let test = if odd.bound { "-e" } else { "! -e" };
    guest
        .shell(&format!("[ -e /sys/bus/pci/devices/{bus_id} ] && [ {test} /sys/bus/pci/devices/{bus_id}/driver ]"))?
        .check()?;
    let log = guest.kernel_log()?;
    let says = |line: &str| line.contains(&bus_id) && line.contains(odd.message);
    match log.lines().any(says) {
        true => Ok(()),
        false => Err(format!(
            "no {:?} for {bus_id} in the kernel log:\n{log}",
            odd.message
        )
        .into()),
    }
}

/// As after a restore in another machine: a device that has another peer ID after each reset.
fn renamed(guest: &Guest) -> Result<(), Failed> {
    let facts = || -> Result<(u32, u32), Failed> {
        let script =
            format!("cd /sys/bus/pci/devices/{BEHIND_PORT}/ivshmem && cat peer_id generation");
        let output = guest.shell(&script)?.check()?.stdout_text();
        let mut numbers = output.lines().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(peer), Some(generation)) => Ok((peer?, generation?)),
            _ => Err(format!("two numbers: {output:?}").into()),
        }
    };
    let (peer, generation) = facts()?;
    guest
        .shell(&format!("echo 1 >/sys/bus/pci/devices/{BEHIND_PORT}/reset"))?
        .check()?;
    let after = facts()?;
    match after.0 > peer && after.1 == generation + 1 {
        true => Ok(()),
        false => Err(format!("({peer}, {generation}) became {after:?}").into()),
    }
}
