// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The register page with `map_registers=1`, where BAR0 has a page of its own: SeaBIOS gives it one.

use guest_tests::artefacts::{self, Kernel, Width};
use guest_tests::lab::{expect_success, Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{Device, Region};

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let module = kernel.module()?;
    let mut builder = kernel
        .guest()
        .module_with(&module, "map_registers=1")
        .file(&module, "/ivshmem_rs.ko");
    let mut programs = vec![("registers", kernel.program("registers")?)];
    if kernel.runs_x86()? {
        let program = artefacts::program("registers", Width::Bits32)?;
        programs.push(("registers32", program));
    }
    for (name, program) in &programs {
        builder = builder.file(program, format!("/test/{name}"));
    }
    // Listed by what the host can run.
    let listed = artefacts::cases(&artefacts::program("registers", Width::Bits64)?)?;
    let lab = Lab::on(kernel, move || {
        let region = Region::start(1 << 20, 4)?;
        let guest = builder.clone().device(Device::doorbell(&region)).boot()?;
        Ok(Fleet {
            guests: vec![guest],
            world: Box::new(region),
        })
    });
    let mut trials = Vec::new();
    for (name, _) in &programs {
        for case in &listed {
            let argv = [format!("/test/{name}"), case.clone()];
            trials.push(lab.trial(format!("{name}::{case}"), move |fleet| {
                // A skipped case exits with something else than 0.
                expect_success(fleet.guests[0].run(argv.clone()))
            }));
        }
    }
    trials.push(lab.trial("registers::the_page_is_reserved_and_given_back", reserved));
    Ok(trials)
}

/// `/proc/iomem` shows the whole page as ours, and is as before once the module is gone.
fn reserved(fleet: &Fleet) -> Result<(), Failed> {
    // BAR0 and BAR2, and with map_registers=1 what follows BAR0 in its page.
    let script = "set -e
        count() { grep -c ivshmem_rs /proc/iomem || true; }
        expect() { [ $(count) = $1 ] || { cat /proc/iomem; exit 1; }; }
        expect 3
        rmmod ivshmem_rs
        expect 0
        insmod /ivshmem_rs.ko map_registers=0
        expect 2
        rmmod ivshmem_rs
        insmod /ivshmem_rs.ko map_registers=1
        expect 3";
    expect_success(fleet.guests[0].shell(script))
}
