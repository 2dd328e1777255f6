// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Real-time programs on a PREEMPT_RT kernel, where handlers are threads.

use guest_tests::artefacts::{self, Kernel, Width};
use guest_tests::lab::{expect_success, Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{Device, Region};

/// Nobody but who has a higher priority gets the CPU of a real-time program: not even one part in twenty, which
/// the kernel keeps for ordinary programs otherwise.
const NO_TURNS_FOR_OTHERS: &str = "set -e
    echo -1 >/proc/sys/kernel/sched_rt_runtime_us
    for cpu in /sys/kernel/debug/sched/fair_server/cpu*; do echo 0 >$cpu/runtime; done";

/// RCU waits for ordinary programs, and says so in the kernel log when they had no turn for 21 s. On a busy host,
/// some seconds of a guest's work take longer.
const PATIENT_RCU: &str = "rcupdate.rcu_cpu_stall_timeout=300";

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let program = artefacts::program("realtime", Width::Bits64)?;
    let guest = kernel
        .guest()
        .cpus(2)
        .append(PATIENT_RCU)
        .module(kernel.module()?)
        .file(&program, "/test/realtime")
        .file(
            artefacts::program("rt_latency", Width::Bits64)?,
            "/test/rt_latency",
        );
    let lab = Lab::on(kernel, move || {
        let region = Region::start(1 << 20, 8)?;
        let guest = guest.clone().device(Device::doorbell(&region)).boot()?;
        guest.shell(NO_TURNS_FOR_OTHERS)?.check()?;
        Ok(Fleet {
            guests: vec![guest],
            world: Box::new(region),
        })
    });
    let mut trials = vec![lab.trial("realtime::sample_spins_on_the_CPU_of_its_interrupt", sample)];
    for case in artefacts::cases(&program)? {
        let name = format!("realtime::{case}");
        trials.push(lab.trial(name, move |fleet| {
            expect_success(fleet.guests[0].run(["/test/realtime", &case]))
        }));
    }
    Ok(trials)
}

/// The sample's priority leaves the handler's thread its turn, also while it spins on the very CPU of the thread.
const SAMPLE: &str = "set -e
    number=$(sed -n 's/^ *\\([0-9]*\\):.*ivshmem0-0$/\\1/p' /proc/interrupts)
    echo 0 >/proc/irq/$number/smp_affinity_list
    exec taskset 1 /test/rt_latency 200";

fn sample(fleet: &Fleet) -> Result<(), Failed> {
    let output = fleet.guests[0].shell(SAMPLE)?.check()?;
    let report = output.stdout_text();
    let whole = ["sleeping: 200, min", "spinning: 200, min"]
        .iter()
        .all(|line| report.contains(line));
    match whole && output.stderr_text().is_empty() {
        true => Ok(()),
        false => Err(format!("{report}{}", output.stderr_text()).into()),
    }
}
