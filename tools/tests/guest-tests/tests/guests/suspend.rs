// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A machine is suspended to memory while its device is in use, and another one rings it meanwhile.

use guest_tests::artefacts::{self, Width};
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use vmbench::{boot_all, Device, Guest, Region};

pub fn cases() -> Result<Vec<Trial>, String> {
    let builder = Guest::builder()
        .module(artefacts::module()?)
        .file(artefacts::program("resume", Width::Bits64)?, "/test/resume")
        .qemu_args(["-global", "ICH9-LPC.disable_s3=0"]);
    let lab = Lab::new(move || {
        let region = Region::start(1 << 20, 8)?;
        let guest = builder.clone().device(Device::doorbell(&region));
        Ok(Fleet {
            guests: boot_all(&[guest.clone().name("sleeper"), guest.name("waker")])?,
            world: Box::new(region),
        })
    });
    Ok(vec![lab.trial(
        "suspend::everything_works_and_nobody_misses_a_ring",
        sleep_and_wake,
    )])
}

/// Once for each boot: a q35 that has woken up cannot be put to sleep or powered off by its guest again.
fn sleep_and_wake(fleet: &Fleet) -> Result<(), Failed> {
    let [sleeper, waker] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    let mut user = sleeper.command(["/test/resume", "sleep"]).spawn()?;
    let ready = user.wait_for_output("ready")?;
    let peer = ready.trim_start_matches("ready").trim();
    let suspend = sleeper
        .command(["sh", "-c", "echo mem >/sys/power/state"])
        .spawn()?;
    let qmp = sleeper.qmp();
    qmp.wait_event("SUSPEND", |_| true)
        .map_err(|error| format!("{error}\n{}", sleeper.console()))?;
    waker.run(["/test/resume", "poke", peer, "1"])?.check()?;
    qmp.execute("system_wakeup", json!({}))?;
    qmp.wait_event("WAKEUP", |_| true)?;
    suspend.wait()?.check()?;
    user.wait_for_output("awake")?;
    waker.run(["/test/resume", "poke", peer, "2"])?.check()?;
    user.wait()?.check()?;
    Ok(())
}
