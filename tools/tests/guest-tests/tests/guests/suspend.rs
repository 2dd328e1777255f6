// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A machine is put to sleep while its device is in use, and another one rings it meanwhile.

use guest_tests::artefacts::Kernel;
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use vmbench::{boot_all, Device, Guest, Region};

/// How a machine sleeps.
struct Sleep {
    /// QEMU's arguments that it takes.
    qemu_args: &'static [&'static str],
    /// The kernel's parameters that it takes.
    parameters: &'static str,
    /// What puts it to sleep, for the guest's shell.
    script: &'static str,
    /// Blocks until it sleeps.
    wait: fn(&Guest) -> vmbench::Result<()>,
    /// Wakes it up.
    wake: fn(&Guest) -> vmbench::Result<()>,
}

/// A PC goes to S3, which resets the device.
const TO_MEMORY: Sleep = Sleep {
    qemu_args: &["-global", "ICH9-LPC.disable_s3=0"],
    parameters: "",
    script: "echo mem >/sys/power/state",
    wait: |guest| guest.qmp().wait_event("SUSPEND", |_| true).map(drop),
    wake: |guest| {
        guest.qmp().execute("system_wakeup", json!({}))?;
        guest.qmp().wait_event("WAKEUP", |_| true).map(drop)
    },
};

/// QEMU's machine for arm64 knows no SYSTEM_SUSPEND of PSCI, so that Linux stops its devices and idles. QEMU does not
/// see that: the kernel has to say it on the console, which stays on, and wakes the machine when something comes.
const TO_IDLE: Sleep = Sleep {
    qemu_args: &[],
    parameters: "no_console_suspend pm_debug_messages ignore_loglevel",
    script: "echo enabled >/sys/class/tty/ttyAMA0/power/wakeup && echo freeze >/sys/power/state",
    wait: |guest| guest.wait_for_console("PM: suspend-to-idle", 1),
    wake: |guest| {
        let console = json!({"id": "vmbench-console"});
        guest.qmp().execute("chardev-send-break", console).map(drop)
    },
};

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let sleep = match kernel.runs_x86()? {
        true => &TO_MEMORY,
        false => &TO_IDLE,
    };
    let builder = kernel
        .guest()
        .module(kernel.module()?)
        .file(kernel.program("resume")?, "/test/resume")
        .append(sleep.parameters)
        .qemu_args(sleep.qemu_args.iter().copied());
    let lab = Lab::on(kernel, move || {
        let region = Region::start(1 << 20, 8)?;
        let guest = builder.clone().device(Device::doorbell(&region));
        Ok(Fleet {
            guests: boot_all(&[guest.clone().name("sleeper"), guest.name("waker")])?,
            world: Box::new(region),
        })
    });
    Ok(vec![lab.trial(
        "suspend::everything_works_and_nobody_misses_a_ring",
        |fleet| sleep_and_wake(fleet, sleep),
    )])
}

/// Once for each boot: a q35 that has woken up cannot be put to sleep or powered off by its guest again.
fn sleep_and_wake(fleet: &Fleet, sleep: &Sleep) -> Result<(), Failed> {
    let [sleeper, waker] = &fleet.guests[..] else {
        return Err("two guests".into());
    };
    let mut user = sleeper.command(["/test/resume", "sleep"]).spawn()?;
    let ready = user.wait_for_output("ready")?;
    let peer = ready.trim_start_matches("ready").trim();
    let suspend = sleeper.command(["sh", "-c", sleep.script]).spawn()?;
    (sleep.wait)(sleeper).map_err(|error| format!("{error}\n{}", sleeper.console()))?;
    waker.run(["/test/resume", "poke", peer, "1"])?.check()?;
    (sleep.wake)(sleeper)?;
    suspend.wait()?.check()?;
    user.wait_for_output("awake")?;
    waker.run(["/test/resume", "poke", peer, "2"])?.check()?;
    user.wait()?.check()?;
    Ok(())
}
