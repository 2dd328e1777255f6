// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Three guests on one region, everybody to everybody.

use guest_tests::artefacts::Kernel;
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{boot_all, Device, Region};

const GUESTS: usize = 3;

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let builder = kernel
        .guest()
        .module(kernel.module()?)
        .file(kernel.program("trio")?, "/test/trio");
    let lab = Lab::on(kernel, move || {
        let region = Region::start(1 << 20, 8)?;
        let guest = builder.clone().device(Device::doorbell(&region));
        let guests: Vec<_> = (0..GUESTS)
            .map(|n| guest.clone().name(format!("guest{n}")))
            .collect();
        Ok(Fleet {
            guests: boot_all(&guests)?,
            world: Box::new(region),
        })
    });
    Ok(vec![lab.trial("trio::everybody_hears_everybody", everybody)])
}

fn everybody(fleet: &Fleet) -> Result<(), Failed> {
    let mut running = Vec::new();
    for (n, guest) in fleet.guests.iter().enumerate() {
        let argv = ["/test/trio".into(), GUESTS.to_string(), n.to_string()];
        running.push(guest.command(argv).spawn()?);
    }
    // All are waited for before one is judged, so that no failure leaves the others running.
    let outputs = running.into_iter().map(|command| command.wait());
    for output in outputs.collect::<Vec<_>>() {
        output?.check()?;
    }
    Ok(())
}
