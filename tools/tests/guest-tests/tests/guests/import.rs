// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Parts of the memory that another driver has imported as dma-bufs, on a device that can be reset alone and
//! unplugged.

use guest_tests::artefacts::{self, Kernel, Width};
use guest_tests::lab::{expect_success, Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::Region;

use super::unplug::{plug, unplug};

const SIZE: u64 = 1 << 20;

pub fn cases() -> Result<Vec<Trial>, String> {
    let kernel = Kernel::DEFAULT;
    let program = artefacts::program("import", Width::Bits64)?;
    let builder = kernel
        .guest()
        .cpus(2)
        .root_ports(1)
        .module(kernel.module()?)
        .module(artefacts::importer()?)
        .file(&program, "/test/import");
    let lab = Lab::on(kernel, move || {
        let region = Region::start(SIZE, 8)?;
        let guest = builder.clone().boot()?;
        plug(&guest, &region.socket(), "port0")
            .map_err(|failed| vmbench::Error::Setup(format!("{failed:?}")))?;
        Ok(Fleet {
            guests: vec![guest],
            world: Box::new(region),
        })
    });
    let mut trials = Vec::new();
    for case in artefacts::cases(&program)? {
        let argv = ["/test/import".to_string(), case.clone()];
        // A skipped case exits with something else than 0.
        trials.push(lab.trial(format!("import::{case}"), move |fleet| {
            expect_success(fleet.guests[0].run(argv.clone()))
        }));
    }
    trials.push(lab.trial("import::the_host_unplugs_what_is_imported", unplugged));
    Ok(trials)
}

/// The last case, for the device does not come back.
fn unplugged(fleet: &Fleet) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let mut user = guest
        .command(["/test/import", "--wait-for-unplug"])
        .spawn()?;
    user.wait_for_output("ready")?;
    unplug(guest)?;
    user.wait()?.check()?;
    Ok(())
}
