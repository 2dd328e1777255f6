// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Ring another guest's doorbell.
//!
//! ```text
//! ring_doorbell PEER [VECTOR]   ring vector VECTOR (0) of the guest with that peer ID
//! ring_doorbell                 ring this guest itself, which is allowed
//! ```
//!
//! Ringing somebody who is not there is no error.

use std::process::ExitCode;

use ivshmem::{MAX_PEER, MAX_RING_VECTOR};
use ivshmem_samples::run;

fn main() -> ExitCode {
    run("ring_doorbell [-d DEVICE] [PEER [VECTOR]]", 2, |sample| {
        let me = sample.peer_id()?;
        let peer = sample.number(0, MAX_PEER)?.unwrap_or(me);
        let vector = sample.number(1, MAX_RING_VECTOR)?.unwrap_or(0);
        sample.device.ring(peer, vector)?;
        println!("this is peer {me}; rang vector {vector} of peer {peer}");
        Ok(())
    })
}
