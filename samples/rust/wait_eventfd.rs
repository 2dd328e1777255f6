// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! An eventfd for one vector: for event loops and libraries that take any eventfd, and for processes that should
//! learn of one vector without access to the device.
//!
//! ```text
//! wait_eventfd      rings this guest itself first, to be tried alone
//! wait_eventfd -w   waits for another guest to ring vector 0
//! ```
//!
//! Each interrupt adds 1. The binding lasts as long as the open device. When the device goes away the eventfd is
//! signalled a last time, so look at the device after a wake-up that brings no data.

use std::os::fd::AsFd;
use std::process::ExitCode;

use ivshmem_samples::run;
use rustix::event::{eventfd, EventfdFlags};

const VECTOR: u32 = 0;

fn main() -> ExitCode {
    run("wait_eventfd [-d DEVICE] [-w]", 0, |sample| {
        let counter = eventfd(0, EventfdFlags::CLOEXEC)?;
        sample.device.set_eventfd(VECTOR, Some(counter.as_fd()))?;
        sample.expect_a_ring()?;
        let mut count = [0; size_of::<u64>()];
        rustix::io::read(&counter, &mut count)?;
        sample.device.info()?;
        let count = u64::from_ne_bytes(count);
        println!("vector {VECTOR}: {count} interrupts");
        Ok(())
    })
}
