// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The event page shows interrupts without any system call: for programs that spin for the lowest latency.
//!
//! ```text
//! event_page      rings this guest itself first, to be tried alone
//! event_page -w   waits for another guest to ring vector 0
//! ```
//!
//! It has one counter for each vector since the driver was bound, and says when the device is gone.

use std::process::ExitCode;
use std::time::Instant;

use ivshmem::Error;
use ivshmem_samples::run;

const VECTOR: u32 = 0;

fn main() -> ExitCode {
    run("event_page [-d DEVICE] [-w]", 0, |sample| {
        let page = sample.device.event_page()?;
        let limit = sample.limit();
        // First remember the counter, then look for work in the shared memory, then spin.
        let before = page.interrupts(VECTOR);
        let begin = Instant::now();
        sample.expect_a_ring()?;
        while page.interrupts(VECTOR) == before {
            if page.is_dead() {
                return Err(Error::Gone.into());
            }
            if limit.is_some_and(|limit| begin.elapsed() > limit) {
                anyhow::bail!("no interrupt within {limit:?}");
            }
            std::hint::spin_loop();
        }
        let number = page.interrupts(VECTOR).unwrap_or(0);
        println!(
            "vector {VECTOR}: interrupt {number}, seen after {:?}",
            begin.elapsed()
        );
        Ok(())
    })
}
