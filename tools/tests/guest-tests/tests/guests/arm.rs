// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What only arm64 has: another interrupt controller without the ITS, and cache types that the page table decides
//! alone.

use guest_tests::artefacts::{self, Kernel, Width};
use guest_tests::lab::{expect_success, Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{Builder, Device, Region};

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let module = kernel.module()?;
    let guest = kernel
        .guest()
        .cpus(2)
        .file(&module, "/ivshmem_rs.ko")
        .file(kernel.program("ring")?, "/test/ring")
        .file(kernel.program("mmap")?, "/test/mmap");
    let old = lab(
        kernel,
        guest
            .clone()
            .module(&module)
            .qemu_args(["-machine", "gic-version=2"]),
    );
    let combining = lab(kernel, guest.clone().module_with(&module, "cache=2"));
    let mut trials = vec![
        old.trial("gicv2m::it_is_what_the_guest_has", |fleet| {
            expect_log(fleet, "GICv2m")
        }),
        combining.trial("write_combining::the_driver_says_so", |fleet| {
            expect_log(fleet, "(write-combining)")
        }),
        combining.trial("write_combining::words_need_no_alignment", |fleet| {
            expect_success(fleet.guests[0].run(["/test/mmap", "words_need_no_alignment"]))
        }),
        lab(kernel, guest).trial("uncached::is_refused_for_memory", |fleet| {
            let script = "insmod /ivshmem_rs.ko cache=3 && [ ! -e /dev/ivshmem0 ]";
            expect_success(fleet.guests[0].shell(script))?;
            expect_log(fleet, "this machine has no uncached memory for programs")
        }),
    ];
    for case in artefacts::cases(&artefacts::program("ring", Width::Bits64)?)? {
        trials.push(old.trial(format!("gicv2m::ring::{case}"), move |fleet| {
            expect_success(fleet.guests[0].run(["/test/ring", &case]))
        }));
    }
    Ok(trials)
}

/// One guest with a doorbell of 8 vectors.
fn lab(kernel: Kernel, guest: Builder) -> Lab {
    Lab::on(kernel, move || {
        let region = Region::start(1 << 20, 8)?;
        Ok(Fleet {
            guests: vec![guest.clone().device(Device::doorbell(&region)).boot()?],
            world: Box::new(region),
        })
    })
}

fn expect_log(fleet: &Fleet, text: &str) -> Result<(), Failed> {
    match fleet.guests[0].kernel_log()?.contains(text) {
        true => Ok(()),
        false => Err(format!("the kernel log does not say '{text}'").into()),
    }
}
