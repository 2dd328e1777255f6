// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The module on a machine without a device.

use std::process::Command;

use guest_tests::artefacts;
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{Guest, Mark};

pub fn cases() -> Result<Vec<Trial>, String> {
    let module = artefacts::module()?;
    let lab = Lab::new(move || {
        Ok(Fleet {
            guests: vec![Guest::builder().file(&module, "/ivshmem_rs.ko").boot()?],
            world: Box::new(()),
        })
    });
    Ok(vec![
        lab.trial("load::says_nothing_but_the_two_taint_lines", taint_lines),
        Trial::test("load::knows_its_alias", alias),
    ])
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

fn alias() -> Result<(), Failed> {
    let output = Command::new(artefacts::enter())
        .arg("modinfo")
        .arg(artefacts::module()?)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let alias = |line: &str| line.starts_with("alias:") && line.contains("pci:v00001AF4d00001110");
    match text.lines().any(alias) {
        true => Ok(()),
        false => Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}
