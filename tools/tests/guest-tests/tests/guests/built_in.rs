// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A kernel that has the driver built in: it probes at boot, and its parameters are the command line's.

use guest_tests::artefacts::Kernel;
use guest_tests::lab::{expect_success, Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::{Device, Region};

pub fn cases() -> Result<Vec<Trial>, String> {
    let guest = Kernel::DEFAULT.guest();
    let lab = Lab::new(move || {
        let region = Region::start(1 << 20, 8)?;
        let guest = guest
            .clone()
            .append("ivshmem_rs.cache=2 ivshmem_rs.max_vectors=3 ivshmem_rs.peer_id=77");
        Ok(Fleet {
            guests: vec![guest.device(Device::doorbell(&region)).boot()?],
            world: Box::new(region),
        })
    });
    Ok(vec![lab.trial(
        "built_in::parameters_are_those_of_the_command_line",
        parameters,
    )])
}

fn parameters(fleet: &Fleet) -> Result<(), Failed> {
    let script = "cd /sys/class/misc/ivshmem0/device/ivshmem && \
        [ $(cat cache) = write-combining ] && [ $(cat vectors) = 3 ] && [ $(cat peer_id) = 77 ]";
    expect_success(fleet.guests[0].shell(script))
}
