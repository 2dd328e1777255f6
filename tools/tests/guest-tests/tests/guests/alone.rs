// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One guest that rings itself: every call of the contract, with its errors.
//!
//! The programs are C, built for 64 and for 32 bits, and list their cases themselves.

use std::path::Path;

use guest_tests::artefacts::{self, Width};
use guest_tests::lab::{expect_success, Fleet, Lab};
use libtest_mimic::Trial;
use vmbench::{Device, Guest, Memory, Region};

/// Programs in which each case is one sentence of the contract.
const PROGRAMS: [&str; 16] = [
    "info",
    "ring",
    "read",
    "poll",
    "subscribe",
    "eventfd",
    "wait",
    "wakeups",
    "mmap",
    "nodes",
    "plain",
    "removal",
    "rebind",
    "race",
    "storm",
    "library",
];

const SIZE: u64 = 1 << 20;

/// The nodes in the order of the devices below.
const NODES: [(&str, &str); 3] = [
    ("IVSHMEM_DEV", "/dev/ivshmem0"),
    ("IVSHMEM_DEV2", "/dev/ivshmem1"),
    ("IVSHMEM_PLAIN", "/dev/ivshmem2"),
];

pub fn cases() -> Result<Vec<Trial>, String> {
    let module = artefacts::module()?;
    let mut programs = Vec::new();
    for name in PROGRAMS {
        programs.push((name.to_string(), artefacts::program(name, Width::Bits64)?));
    }
    for name in PROGRAMS {
        programs.push((
            format!("{name}32"),
            artefacts::program(name, Width::Bits32)?,
        ));
    }

    let installed = programs.clone();
    let lab = Lab::new(move || {
        let first = Region::start(SIZE, 8)?;
        let second = Region::start(SIZE, 3)?;
        let builder = Guest::builder()
            .cpus(2)
            .device(Device::doorbell(&first))
            .device(Device::doorbell(&second))
            .device(Device::plain(&Memory::anonymous(SIZE)?))
            .file(&module, "/ivshmem_rs.ko")
            .module(&module);
        let builder = installed.iter().fold(builder, |builder, (name, path)| {
            builder.file(path, in_guest(name))
        });
        Ok(Fleet {
            guests: vec![builder.boot()?],
            world: Box::new((first, second)),
        })
    });

    let mut trials = Vec::new();
    for (name, path) in &programs {
        trials.extend(program_cases(&lab, name, path)?);
    }
    Ok(trials)
}

fn in_guest(name: &str) -> String {
    format!("/test/{name}")
}

fn program_cases(lab: &Lab, name: &str, path: &Path) -> Result<Vec<Trial>, String> {
    let trial = |case: String| {
        let argv = [in_guest(name), case.clone()];
        lab.trial(format!("{name}::{case}"), move |fleet| {
            let command = fleet.guests[0].command(argv.clone());
            let command = NODES
                .iter()
                .fold(command, |command, (key, value)| command.env(*key, *value));
            expect_success(command.run())
        })
    };
    Ok(artefacts::cases(path)?.into_iter().map(trial).collect())
}
