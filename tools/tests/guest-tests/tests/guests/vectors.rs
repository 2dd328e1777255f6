// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How many vectors are armed: the module parameter `max_vectors`, and a machine that has none to give.

use guest_tests::artefacts::{self, Width};
use guest_tests::lab::{expect_success, Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{Device, Guest, Mark, Region};

const SIZE: u64 = 1 << 20;

pub fn cases() -> Result<Vec<Trial>, String> {
    let mut trials = Vec::new();
    trials.extend(programs("wide", 64, "max_vectors=64", "")?);
    trials.extend(programs("deaf", 8, "", "pci=nomsi")?);
    trials.push(parameter()?);
    Ok(trials)
}

/// The cases of a program, in a machine with a device of so many vectors.
fn programs(
    name: &'static str,
    vectors: u16,
    module: &'static str,
    kernel: &'static str,
) -> Result<Vec<Trial>, String> {
    let path = artefacts::module()?;
    let mut builder = Guest::builder().append(kernel).module_with(&path, module);
    let mut programs = Vec::new();
    for (name, width) in [
        (name.to_string(), Width::Bits64),
        (format!("{name}32"), Width::Bits32),
    ] {
        let program = artefacts::program(name.trim_end_matches("32"), width)?;
        builder = builder.file(&program, format!("/test/{name}"));
        programs.push((name, program));
    }
    let lab = Lab::new(move || {
        let region = Region::start(SIZE, vectors)?;
        let guest = builder.clone().device(Device::doorbell(&region)).boot()?;
        Ok(Fleet {
            guests: vec![guest],
            world: Box::new(region),
        })
    });
    let mut trials = Vec::new();
    for (name, program) in &programs {
        for case in artefacts::cases(program)? {
            let argv = [format!("/test/{name}"), case.clone()];
            trials.push(lab.trial(format!("{name}::{case}"), move |fleet| {
                expect_success(fleet.guests[0].run(argv.clone()))
            }));
        }
    }
    Ok(trials)
}

fn parameter() -> Result<Trial, String> {
    let module = artefacts::module()?;
    let lab = Lab::new(move || {
        let region = Region::start(SIZE, 8)?;
        let guest = Guest::builder().file(&module, "/ivshmem_rs.ko");
        Ok(Fleet {
            guests: vec![guest.device(Device::doorbell(&region)).boot()?],
            world: Box::new(region),
        })
    });
    Ok(
        lab.trial("vectors::max_vectors_is_obeyed_or_refused", |fleet| {
            load(fleet, "", "8 of 8 vectors")?;
            load(fleet, "max_vectors=1", "1 of 8 vectors")?;
            load(fleet, "max_vectors=64", "8 of 8 vectors")?;
            load(fleet, "max_vectors=0", "max_vectors=0 is not 1 to 64")?;
            load(fleet, "max_vectors=65", "max_vectors=65 is not 1 to 64")
        }),
    )
}

/// Loads the module with a parameter and unloads it; the kernel log must have the text.
fn load(fleet: &Fleet, parameter: &str, text: &str) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let (_, before): (_, Mark) = guest.kernel_log_since(Mark::BOOT)?;
    let script = format!("insmod /ivshmem_rs.ko {parameter} && rmmod ivshmem_rs");
    guest.shell(&script)?.check()?;
    let (log, _) = guest.kernel_log_since(before)?;
    match log.contains(text) {
        true => Ok(()),
        false => Err(format!("{parameter}: the kernel log lacks \"{text}\":\n{log}").into()),
    }
}
