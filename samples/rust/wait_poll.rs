// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! poll() waits for doorbells together with other descriptors, here the standard input.
//!
//! ```text
//! wait_poll      rings this guest itself first, to be tried alone
//! wait_poll -w   waits for another guest, or for Enter
//! ```
//!
//! The device stays readable until its events were read. POLLERR and POLLHUP mean that it is gone, for example
//! because the host unplugged it; reading says so.

use std::process::ExitCode;

use ivshmem_samples::run;
use rustix::event::{poll, PollFd, PollFlags, Timespec};

fn main() -> ExitCode {
    run("wait_poll [-d DEVICE] [-w]", 0, |sample| {
        sample.expect_a_ring()?;
        let keys = std::io::stdin();
        let mut files = vec![PollFd::new(&sample.device, PollFlags::IN)];
        if sample.wait {
            files.push(PollFd::new(&keys, PollFlags::IN));
        }
        let limit = sample.limit().map(Timespec::try_from).transpose()?;
        if poll(&mut files, limit.as_ref())? == 0 {
            anyhow::bail!("no doorbell within {:?}", ivshmem_samples::OWN_RING);
        }
        if files[0].revents().is_empty() {
            println!("stopped");
            return Ok(());
        }
        for event in sample.device.read_events()? {
            println!("vector {} was rung", event.vector);
        }
        Ok(())
    })
}
