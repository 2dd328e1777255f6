// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Random programs of system calls, with nobody else, and while the driver is unbound and bound.
//!
//! A few by default; `IVSHMEM_FUZZ` is their number, and `IVSHMEM_FUZZ_SEED` chooses others.

use guest_tests::artefacts::{self, Width};
use guest_tests::lab::{expect_no_leaks, Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{Device, Guest, Region};

/// Programs of each case. From 300 on, each kind of call is to succeed.
const PROGRAMS: &str = "400";

/// Large enough for large pages.
const SIZE: u64 = 8 << 20;

pub fn cases() -> Result<Vec<Trial>, String> {
    let builder = Guest::builder()
        .cpus(2)
        .memory_mib(640)
        .module(artefacts::module()?)
        .file(artefacts::program("fuzz", Width::Bits64)?, "/test/fuzz")
        .file(artefacts::program("fuzz", Width::Bits32)?, "/test/fuzz32");
    let lab = Lab::new(move || {
        let region = Region::start(SIZE, 8)?;
        Ok(Fleet {
            guests: vec![builder.clone().device(Device::doorbell(&region)).boot()?],
            world: Box::new(region),
        })
    });
    Ok(vec![
        lab.trial("fuzz::programs", |fleet| fuzz(fleet, &["/test/fuzz"])),
        lab.trial("fuzz::32::programs", |fleet| fuzz(fleet, &["/test/fuzz32"])),
        lab.trial("fuzz::while_the_driver_comes_and_goes", |fleet| {
            fuzz(fleet, &["/test/fuzz", "disturbed"])
        }),
        lab.trial("fuzz::nothing_is_leaked", |fleet| {
            let guest = &fleet.guests[0];
            // What is linked with the device is no leak for as long as that is there.
            guest
                .shell("cd /sys/bus/pci/drivers/ivshmem_rs && echo 0000:*:*.* >unbind")?
                .check()?;
            expect_no_leaks(guest)
        }),
    ])
}

fn fuzz(fleet: &Fleet, program: &[&str]) -> Result<(), Failed> {
    let from_environment =
        |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_string());
    let mut argv: Vec<String> = program.iter().map(ToString::to_string).collect();
    argv.push(from_environment("IVSHMEM_FUZZ", PROGRAMS));
    argv.push(from_environment("IVSHMEM_FUZZ_SEED", "1"));
    print!("{}", fleet.guests[0].run(argv)?.check()?.stdout_text());
    Ok(())
}
