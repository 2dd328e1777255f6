// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The module on a machine without a device.

use std::process::Command;

use guest_tests::artefacts::{self, Kernel};
use guest_tests::lab::{expect_success, Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{Device, Mark, Region};

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let guest = kernel.guest().file(kernel.module()?, "/ivshmem_rs.ko");
    let lab = Lab::on(kernel, move || {
        Ok(Fleet {
            guests: vec![guest.boot()?],
            world: Box::new(()),
        })
    });
    Ok(vec![
        lab.trial("load::says_nothing_but_the_two_taint_lines", taint_lines),
        Trial::test(kernel.case("load::knows_its_alias"), move || alias(kernel)),
        with_device(kernel)?.trial(
            "load::files_that_stay_open_are_safe_when_it_is_unloaded",
            files_stay_open,
        ),
        with_device(kernel)?.trial("load::tracepoints_show_rings_and_interrupts", trace),
    ])
}

fn with_device(kernel: Kernel) -> Result<Lab, String> {
    let guest = kernel
        .guest()
        .file(kernel.module()?, "/ivshmem_rs.ko")
        .file(kernel.program("ring")?, "/test/ring");
    Ok(Lab::on(kernel, move || {
        let region = Region::start(1 << 20, 8)?;
        let guest = guest.clone();
        Ok(Fleet {
            guests: vec![guest.device(Device::doorbell(&region)).boot()?],
            world: Box::new(region),
        })
    }))
}

/// Every file that the driver makes in sysfs, debugfs and procfs is held open while the module goes, read
/// after that, and closed.
fn files_stay_open(fleet: &Fleet) -> Result<(), Failed> {
    let script = "set -e
        insmod /ivshmem_rs.ko
        files=$(find /sys/bus/pci/devices/*/ivshmem* /sys/kernel/debug/ivshmem* -type f 2>/dev/null) || true
        [ -n \"$files\" ]
        for file in $files; do
            [ -d /sys/module/ivshmem_rs ] || insmod /ivshmem_rs.ko
            exec 3<$file
            cat <&3 >/dev/null
            rmmod ivshmem_rs
            cat <&3 >/dev/null 2>&1 || true
            exec 3<&-
        done";
    expect_success(fleet.guests[0].shell(script))
}

fn taint_lines(fleet: &Fleet) -> Result<(), Failed> {
    let guest = &fleet.guests[0];
    let (_, before) = guest.kernel_log_since(Mark::BOOT)?;
    guest
        .shell("insmod /ivshmem_rs.ko && rmmod ivshmem_rs")?
        .check()?;
    let (log, _) = guest.kernel_log_since(before)?;
    let lines: Vec<_> = log.lines().collect();
    match lines[..] {
        [first, second]
            if first.contains("loading out-of-tree module taints kernel")
                && second.contains("module verification failed") =>
        {
            Ok(())
        }
        _ => Err(format!("the kernel log of loading and unloading:\n{log}").into()),
    }
}

fn alias(kernel: Kernel) -> Result<(), Failed> {
    let output = Command::new(artefacts::enter())
        .arg("modinfo")
        .arg(kernel.module()?)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let alias = |line: &str| line.starts_with("alias:") && line.contains("pci:v00001AF4d00001110");
    match text.lines().any(alias) {
        true => Ok(()),
        false => Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn trace(fleet: &Fleet) -> Result<(), Failed> {
    let script = "set -e
        insmod /ivshmem_rs.ko
        [ -e /sys/kernel/tracing/trace ] || mount -t tracefs tracefs /sys/kernel/tracing
        cd /sys/kernel/tracing
        echo 1 >events/ivshmem/enable
        /test/ring each_vector_arrives_on_that_vector_alone
        echo 0 >events/ivshmem/enable
        cat trace
        grep -q 'ivshmem_ring: ivshmem0 peer=0 vector=7' trace
        grep -q 'ivshmem_interrupt: ivshmem0 vector=7 seq=1' trace
        rmmod ivshmem_rs";
    expect_success(fleet.guests[0].shell(script))
}
