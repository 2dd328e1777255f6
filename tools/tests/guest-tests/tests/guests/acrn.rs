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
use guest_tests::device::{contains, equal, node, run, until_asleep};
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
