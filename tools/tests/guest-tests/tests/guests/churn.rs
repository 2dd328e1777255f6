// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The driver is unbound and bound, and the device unplugged and plugged, again and again, while four
//! processes use it at random.
//!
//! A few rounds by default; `IVSHMEM_CHURN=full` makes it 500 of the first and 50 of the second.

use guest_tests::artefacts::{self, Width};
use guest_tests::lab::{expect_no_leaks, expect_success, Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{Builder, Device, Guest, Region};

use super::unplug::{plug, unplug};

/// Large enough for large pages.
const SIZE: u64 = 8 << 20;

/// A hot-pluggable port whose window has room for [`SIZE`].
pub const PORT: [&str; 2] = [
    "-device",
    "pcie-root-port,id=hotport,chassis=1,slot=1,pref64-reserve=64M",
];

/// One of the two, as the environment wants it.
fn rounds(few: u32, full: u32) -> u32 {
    match std::env::var("IVSHMEM_CHURN").as_deref() {
        Ok("full") => full,
        _ => few,
    }
}

pub fn cases() -> Result<Vec<Trial>, String> {
    let builder = Guest::builder()
        .cpus(2)
        .memory_mib(640)
        .module(artefacts::module()?)
        .file(artefacts::program("churn", Width::Bits64)?, "/test/churn");
    let bound = lab(builder.clone(), |builder, region| {
        builder.device(Device::doorbell(region))
    });
    let plugged = lab(builder, |builder, _| builder.qemu_args(PORT));
    Ok(vec![
        bound.trial("churn::opened_files_leave_nothing", |fleet| {
            // More than any cache grows for other reasons.
            expect_success(fleet.guests[0].run(["/test/churn", "opens", "3000"]))
        }),
        bound.trial("churn::unbind_and_bind", unbind_and_bind),
        plugged.trial("churn::unplug_and_plug", unplug_and_plug),
    ])
}

fn lab(
    builder: Builder,
    with: impl Fn(Builder, &Region) -> Builder + Send + Sync + 'static,
) -> Lab {
    Lab::new(move || {
        let region = Region::start(SIZE, 8)?;
        Ok(Fleet {
            guests: vec![with(builder.clone(), &region).boot()?],
            world: Box::new(region),
        })
    })
}

fn unbind_and_bind(fleet: &Fleet) -> Result<(), Failed> {
    let rounds = rounds(10, 500);
    let argv = ["/test/churn".to_string(), rounds.to_string()];
    let guest = &fleet.guests[0];
    print!("{}", guest.run(argv)?.check()?.stdout_text());
    // What is linked with the device is no leak for as long as that is there.
    guest
        .shell("cd /sys/bus/pci/drivers/ivshmem_rs && echo 0000:*:*.* >unbind")?
        .check()?;
    expect_no_leaks(guest)
}

fn unplug_and_plug(fleet: &Fleet) -> Result<(), Failed> {
    let rounds = rounds(3, 50);
    let guest = &fleet.guests[0];
    let region = fleet
        .world
        .downcast_ref::<Region>()
        .ok_or("the world is a region")?;
    plug(guest, &region.socket(), "hotport")?;
    let argv = ["/test/churn".into(), "plugged".into(), rounds.to_string()];
    let mut users = guest.command(argv).spawn()?;
    for round in 0..rounds {
        users.wait_for_output(&format!("round {round}\n"))?;
        unplug(guest)?;
        plug(guest, &region.socket(), "hotport")?;
    }
    print!("{}", users.wait()?.check()?.stdout_text());
    unplug(guest)?;
    expect_no_leaks(guest)
}
