// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Two guests of two processors each on one region.

use guest_tests::artefacts::Kernel;
use guest_tests::lab::{both, Fleet, Lab};
use libtest_mimic::Trial;
use vmbench::{boot_all, Device, Region};

const PROGRAMS: [&str; 3] = ["pair", "order", "loss"];

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let module = kernel.module()?;
    let mut builder = kernel.guest().cpus(2).module(module);
    for name in PROGRAMS {
        builder = builder.file(kernel.program(name)?, format!("/test/{name}"));
    }
    let lab = Lab::on(kernel, move || {
        let region = Region::start(1 << 20, 8)?;
        let guest = builder.clone().device(Device::doorbell(&region));
        let guests = boot_all(&[guest.clone().name("a"), guest.name("b")])?;
        Ok(Fleet {
            guests,
            world: Box::new(region),
        })
    });
    // For each of the four ways to wait.
    let loss_seconds = if kernel.is_default() { "30" } else { "8" };
    Ok(vec![
        lab.trial("pair::10000_doorbells_both_ways_with_data", |fleet| {
            both(
                fleet,
                &["/test/pair", "0", "10000"],
                &["/test/pair", "1", "10000"],
            )
        }),
        lab.trial("pair::data_is_visible_before_its_doorbell", |fleet| {
            both(fleet, &["/test/order", "0"], &["/test/order", "1"])
        }),
        lab.trial("pair::no_event_is_lost_or_stolen", move |fleet| {
            both(
                fleet,
                &["/test/loss", "listen"],
                &["/test/loss", "ring", loss_seconds],
            )
        }),
    ])
}
