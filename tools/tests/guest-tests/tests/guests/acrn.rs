// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The driver on ACRN's devices: what ACRN's ivshmem tutorial promises, line by line.
//!
//! The numbers t01 to t33 in the names are those of the table in `Documentation/acrn.rst`, which also says where the
//! others are tested: those that are about configuration alone need no guest, and T9, T20 and T21 are about ACRN's
//! own programs, which are not here.

mod doorbells;
mod life;
mod memory;
mod scripts;
mod world;

use guest_tests::artefacts::{self, Width};
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{boot_all, Guest};

use world::World;

/// What the machines are given: samples, and the selftest for devices without a doorbell.
const PROGRAMS: [&str; 8] = [
    "acrn_eventfd",
    "map",
    "plain",
    "read_events",
    "resource2",
    "ring_doorbell",
    "wait_value",
    "wait_word",
];

pub fn cases() -> Result<Vec<Trial>, String> {
    let module = artefacts::module()?;
    let mut builder = Guest::builder()
        .module(&module)
        .file(&module, "/ivshmem_rs.ko");
    for name in PROGRAMS {
        let program = artefacts::program(name, Width::Bits64)?;
        builder = builder.file(program, format!("/test/{name}"));
    }
    let booted = builder.clone();
    let lab = Lab::new(move || {
        let world = World::new().map_err(|error| vmbench::Error::Setup(error.to_string()))?;
        let machines = [0, 1, 2].map(|vm| world.machine(&booted, vm));
        Ok(Fleet {
            guests: boot_all(&machines)?,
            world: Box::new(world),
        })
    });
    let mut trials = memory::cases(&lab);
    trials.extend(doorbells::cases(&lab)?);
    trials.extend(life::cases(&lab, builder));
    trials.extend(scripts::cases());
    check_table(&trials)?;
    Ok(trials)
}

/// Makes sure that the rows of the manual's table that a guest shows have a case of their number.
fn check_table(trials: &[Trial]) -> Result<(), String> {
    let manual = include_str!("../../../../../Documentation/acrn.rst");
    for line in manual.lines() {
        let (row, tests) = (line.split(' ').next(), line.rsplit("  ").next());
        let number = row.and_then(|row| row.strip_prefix('T')?.parse::<u8>().ok());
        let (Some(number), Some(tests)) = (number, tests) else {
            continue;
        };
        let name = format!("t{number:02}_");
        let shown = tests.split([',', ';']).any(|test| test.trim() == "guest");
        if shown && !trials.iter().any(|trial| trial.name().contains(&name)) {
            return Err(format!("no case of the set acrn is called {name}"));
        }
    }
    Ok(())
}

fn world(fleet: &Fleet) -> Result<&World, Failed> {
    let world = fleet.world.downcast_ref::<World>();
    world.ok_or_else(|| "the fleet has another world".into())
}

/// The node of the device in a slot, found from the address as the tutorial finds `uioX`.
fn node(guest: &Guest, slot: u8) -> Result<String, Failed> {
    let script = format!("ls /sys/bus/pci/devices/0000:00:{slot:02x}.0/misc");
    let name = guest.shell(&script)?.check()?.stdout_text();
    Ok(format!("/dev/{name}"))
}

/// Runs a sample on the device in a slot and returns what it wrote.
fn run(guest: &Guest, slot: u8, sample: &str, args: &[&str]) -> Result<String, Failed> {
    let mut words = vec![format!("/test/{sample}"), "-d".into(), node(guest, slot)?];
    words.extend(args.iter().map(|arg| arg.to_string()));
    Ok(guest.run(words)?.check()?.stdout_text())
}

/// Blocks until a program sleeps in a call that a signal would end: it waits for the device.
fn until_asleep(guest: &Guest, program: &str) -> Result<(), Failed> {
    let script =
        format!("until grep -qs 'State:.S' /proc/$(pidof {program})/status; do usleep 20000; done");
    guest.shell(&script)?.check()?;
    Ok(())
}

fn equal<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<(), Failed> {
    match found == expected {
        true => Ok(()),
        false => Err(format!("found {found:?}, expected {expected:?}").into()),
    }
}

fn contains(text: &str, part: &str) -> Result<(), Failed> {
    match text.contains(part) {
        true => Ok(()),
        false => Err(format!("no {part:?} in:\n{text}").into()),
    }
}
