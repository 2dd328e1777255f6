// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The driver is unbound and bound again and again, while four processes use the device at random.
//!
//! A few rounds by default; `IVSHMEM_CHURN=full` makes it 500.

use std::time::Duration;

use guest_tests::artefacts::{self, Width};
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{Device, Guest, Region};

/// Large enough for page structures and large pages.
const SIZE: u64 = 8 << 20;
const LIMIT: Duration = Duration::from_secs(120);

/// How often the driver is bound again.
fn rounds() -> u32 {
    match std::env::var("IVSHMEM_CHURN").as_deref() {
        Ok("full") => 500,
        _ => 10,
    }
}

pub fn cases() -> Result<Vec<Trial>, String> {
    let builder = Guest::builder()
        .cpus(2)
        // Below 512 MiB the kernel switches large pages off.
        .memory_mib(640)
        .module(artefacts::module()?)
        .file(artefacts::program("churn", Width::Bits64)?, "/test/churn");
    let lab = Lab::new(move || {
        let region = Region::start(SIZE, 2)?;
        let guest = builder.clone().device(Device::doorbell(&region));
        Ok(Fleet {
            guests: vec![guest.boot()?],
            world: Box::new(region),
        })
    });
    Ok(vec![lab.trial("churn::unbind_and_bind", unbind_and_bind)])
}

fn unbind_and_bind(fleet: &Fleet) -> Result<(), Failed> {
    let rounds = rounds();
    let argv = ["/test/churn".to_string(), rounds.to_string()];
    let command = fleet.guests[0]
        .command(argv)
        .limit(LIMIT * (1 + rounds / 10));
    print!("{}", command.run()?.check()?.stdout_text());
    Ok(())
}
