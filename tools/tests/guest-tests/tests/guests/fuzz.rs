// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Random programs of system calls: with nobody else, while the driver is unbound and bound, while the device is
//! unplugged and plugged, and while allocations fail.
//!
//! A few by default; `IVSHMEM_FUZZ` is their number, and `IVSHMEM_FUZZ_SEED` chooses others.

use guest_tests::artefacts::{self, Width};
use guest_tests::lab::{expect_no_leaks, Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{Guest, Region};

use super::churn::PORT;
use super::unplug::{plug, unplug};

/// Programs of each case, of some 400 calls each. From 20,000 calls on, each kind of call is to succeed.
const PROGRAMS: &str = "100";

/// Large enough for large pages.
const SIZE: u64 = 8 << 20;

pub fn cases() -> Result<Vec<Trial>, String> {
    let builder = Guest::builder()
        .cpus(2)
        .memory_mib(640)
        // The device can also be reset there.
        .qemu_args(PORT)
        .module(artefacts::module()?)
        .file(artefacts::program("fuzz", Width::Bits64)?, "/test/fuzz")
        .file(artefacts::program("fuzz", Width::Bits32)?, "/test/fuzz32");
    let lab = Lab::new(move || {
        let (guest, region) = (builder.clone().boot()?, Region::start(SIZE, 8)?);
        plug(&guest, &region.socket(), "hotport")?;
        Ok(Fleet {
            guests: vec![guest],
            world: Box::new(region),
        })
    });
    let mut trials = vec![
        lab.trial("fuzz::programs", |fleet| fuzz(fleet, &["/test/fuzz"])),
        lab.trial("fuzz::32::programs", |fleet| fuzz(fleet, &["/test/fuzz32"])),
        lab.trial("fuzz::while_the_driver_comes_and_goes", |fleet| {
            fuzz(fleet, &["/test/fuzz", "disturbed"])
        }),
        lab.trial("fuzz::while_the_device_is_unplugged", unplugged),
    ];
    if artefacts::kernel_fails_allocations() {
        trials.push(lab.trial("fuzz::while_allocations_fail", |fleet| {
            fuzz(fleet, &["/test/fuzz", "failing"])
        }));
    }
    trials.push(lab.trial("fuzz::nothing_is_leaked", |fleet| {
        let guest = &fleet.guests[0];
        // What is linked with the device is no leak for as long as that is there.
        guest
            .shell("cd /sys/bus/pci/drivers/ivshmem_rs && echo 0000:*:*.* >unbind")?
            .check()?;
        expect_no_leaks(guest)
    }));
    Ok(trials)
}

fn fuzz(fleet: &Fleet, program: &[&str]) -> Result<(), Failed> {
    let output = fleet.guests[0].run(command(program))?.check()?;
    print!("{}", output.stdout_text());
    Ok(())
}

/// The command, with what the environment says.
fn command(program: &[&str]) -> Vec<String> {
    let from_environment =
        |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_string());
    let mut argv: Vec<String> = program.iter().map(ToString::to_string).collect();
    argv.push(from_environment("IVSHMEM_FUZZ", PROGRAMS));
    argv.push(from_environment("IVSHMEM_FUZZ_SEED", "1"));
    argv
}

fn unplugged(fleet: &Fleet) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let region = fleet
        .world
        .downcast_ref::<Region>()
        .ok_or("the world is a region")?;
    let mut programs = guest.command(command(&["/test/fuzz", "plugged"])).spawn()?;
    programs.wait_for_output("ready")?;
    let mut times = 0;
    while !programs.has_ended() {
        unplug(guest)?;
        plug(guest, &region.socket(), "hotport")?;
        times += 1;
    }
    print!("{}", programs.wait()?.check()?.stdout_text());
    println!("# unplugged {times} times");
    Ok(())
}
