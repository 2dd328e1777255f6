// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One guest that rings itself: every call of the contract, with its errors.
//!
//! The programs are C, built for 64 and for 32 bits, and list their cases themselves.

use guest_tests::artefacts::{self, Kernel, Width};
use guest_tests::lab::{expect_success, Fleet, Lab};
use libtest_mimic::Trial;
use vmbench::{Builder, Device, Memory, Region};

/// Programs in which each case is one sentence of the contract.
const PROGRAMS: [&str; 17] = [
    "info",
    "ring",
    "read",
    "poll",
    "subscribe",
    "eventfd",
    "wait",
    "wakeups",
    "mmap",
    "dma_buf",
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

/// The program that takes the module out and puts it in again.
const WITH_THE_MODULE: &str = "rebind";

/// With 64-bit and 32-bit programs.
pub fn cases() -> Result<Vec<Trial>, String> {
    cases_of(
        Kernel::DEFAULT,
        with_module(Kernel::DEFAULT)?,
        &PROGRAMS,
        &[Width::Bits64, Width::Bits32],
    )
}

/// On another kernel, where the 32-bit entry points are the same.
pub fn cases_on(kernel: Kernel) -> Result<Vec<Trial>, String> {
    cases_of(kernel, with_module(kernel)?, &PROGRAMS, &[Width::Bits64])
}

/// On a kernel that has the driver built in.
pub fn cases_built_in() -> Result<Vec<Trial>, String> {
    let programs: Vec<_> = PROGRAMS
        .into_iter()
        .filter(|name| *name != WITH_THE_MODULE)
        .collect();
    cases_of(
        Kernel::DEFAULT,
        Kernel::DEFAULT.guest(),
        &programs,
        &[Width::Bits64, Width::Bits32],
    )
}

fn with_module(kernel: Kernel) -> Result<Builder, String> {
    let module = kernel.module()?;
    Ok(kernel
        .guest()
        .file(&module, "/ivshmem_rs.ko")
        .module(&module))
}

fn cases_of(
    kernel: Kernel,
    guest: Builder,
    names: &[&str],
    widths: &[Width],
) -> Result<Vec<Trial>, String> {
    let mut programs = Vec::new();
    for &width in widths {
        for &name in names {
            let program = match width {
                Width::Bits64 => kernel.program(name)?,
                Width::Bits32 => artefacts::program(name, width)?,
            };
            // The host lists the cases, with a program that it can run.
            let cases = artefacts::cases(&artefacts::program(name, width)?)?;
            programs.push((format!("{name}{}", width.suffix()), program, cases));
        }
    }

    let installed = programs.clone();
    let lab = Lab::on(kernel, move || {
        let first = Region::start(SIZE, 8)?;
        let second = Region::start(SIZE, 3)?;
        let builder = guest
            .clone()
            .cpus(2)
            .device(Device::doorbell(&first))
            .device(Device::doorbell(&second))
            .device(Device::plain(&Memory::anonymous(SIZE)?));
        let builder = installed.iter().fold(builder, |builder, (name, path, _)| {
            builder.file(path, in_guest(name))
        });
        Ok(Fleet {
            guests: vec![builder.boot()?],
            world: Box::new((first, second)),
        })
    });

    let mut trials = Vec::new();
    for (name, _, cases) in &programs {
        trials.extend(program_cases(&lab, name, cases));
    }
    Ok(trials)
}

fn in_guest(name: &str) -> String {
    format!("/test/{name}")
}

fn program_cases<'a>(
    lab: &'a Lab,
    name: &'a str,
    cases: &'a [String],
) -> impl Iterator<Item = Trial> + 'a {
    cases.iter().map(move |case| {
        let argv = [in_guest(name), case.clone()];
        lab.trial(format!("{name}::{case}"), move |fleet| {
            let command = fleet.guests[0].command(argv.clone());
            let command = NODES
                .iter()
                .fold(command, |command, (key, value)| command.env(*key, *value));
            expect_success(command.run())
        })
    })
}
