// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Allocations that fail, one after the other.

use guest_tests::artefacts::{self, Width};
use guest_tests::lab::{expect_no_leaks, expect_success, Fleet, Lab};
use libtest_mimic::Trial;
use vmbench::{Guest, Region};

use super::unplug::plug;

pub fn cases() -> Result<Vec<Trial>, String> {
    if !artefacts::kernel_fails_allocations() {
        return Ok(Vec::new());
    }
    let program = artefacts::program("faults", Width::Bits64)?;
    let builder = Guest::builder()
        .root_ports(1)
        .module(artefacts::module()?)
        .file(&program, "/test/faults");
    let lab = Lab::new(move || {
        let region = Region::start(1 << 20, 2)?;
        let guest = builder.clone().boot()?;
        // Behind a port of its own, it can be reset.
        plug(&guest, &region.socket(), "port0")?;
        Ok(Fleet {
            guests: vec![guest],
            world: Box::new(region),
        })
    });
    let trial = |case: String| {
        let argv = ["/test/faults".to_string(), case.clone()];
        // The kernel warns when it frees an interrupt for whose directory in /proc it had no memory.
        let known = Some("at remove_proc_entry");
        lab.trial_besides(format!("faults::{case}"), known, move |fleet| {
            // A skipped case exits with something else than 0.
            expect_success(fleet.guests[0].run(argv.clone()))?;
            expect_no_leaks(&fleet.guests[0])
        })
    };
    Ok(artefacts::cases(&program)?.into_iter().map(trial).collect())
}
