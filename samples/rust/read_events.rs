// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Reading waits for doorbells and tells which vectors were rung.
//!
//! ```text
//! read_events      rings this guest itself first, to be tried alone
//! read_events -w   waits for another guest: there, run "ring_doorbell PEER VECTOR"
//! ```
//!
//! A count means "at least one ring since this handle looked last": several rings may be one interrupt. Every
//! open device has its own counts, so no program takes another one's events.

use std::process::ExitCode;

use ivshmem_samples::run;

fn main() -> ExitCode {
    run("read_events [-d DEVICE] [-w]", 0, |sample| {
        sample.expect_a_ring()?;
        // One for each vector that was rung, lowest first.
        for event in sample.device.read_events()? {
            println!("vector {}: count {}", event.vector, event.count);
        }
        Ok(())
    })
}
