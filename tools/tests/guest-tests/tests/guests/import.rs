// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Parts of the memory that another driver has imported as dma-bufs, on a device that can be reset alone and
//! unplugged.

use std::path::PathBuf;

use guest_tests::artefacts::{self, Kernel, Width};
use guest_tests::lab::{expect_success, Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{kernel_module, Builder, Region};

use super::unplug::{plug, unplug};

const SIZE: u64 = 1 << 20;

/// vgem, which has no device, and what it needs, in the order in which they are inserted.
const VGEM: [&str; 4] = ["drm", "drm_kms_helper", "drm_shmem_helper", "vgem/vgem"];

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
    let vgem = vgem().map_err(|error| error.to_string())?;
    let builder = vgem.iter().fold(builder, Builder::module);
    let has_vgem = !vgem.is_empty();
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
    if has_vgem {
        trials.push(
            lab.trial("import::vgem_which_would_not_let_go_is_refused", |fleet| {
                expect_success(fleet.guests[0].run(["/test/import", "--vgem"]))
            }),
        );
    }
    trials.push(lab.trial("import::the_host_unplugs_what_is_imported", unplugged));
    Ok(trials)
}

/// Of a kernel of one's own, whatever it has, there are none.
fn vgem() -> vmbench::Result<Vec<PathBuf>> {
    let module = |name| kernel_module(&format!("drivers/gpu/drm/{name}"));
    let modules: vmbench::Result<Option<Vec<_>>> = VGEM.into_iter().map(module).collect();
    Ok(modules?.unwrap_or_default())
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
