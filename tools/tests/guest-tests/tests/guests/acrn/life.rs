// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Machines that come and go, and one whose hypervisor forgets who it is.

use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::Builder;

use super::doorbells::ring_and_read;
use super::world::{ALL, OLD};
use super::{contains, equal, run, world};

pub fn cases(lab: &Lab, builder: Builder) -> Vec<Trial> {
    vec![
        lab.trial(
            "acrn::machine_comes_late_stops_and_comes_back_to_stale_memory",
            move |fleet| late(fleet, &builder),
        ),
        lab.trial(
            "acrn::releases_2_4_to_3_2_need_peer_id",
            position_is_forgotten,
        ),
    ]
}

/// VM3 joins VM0 in a region where the others have been for long.
fn late(fleet: &Fleet, builder: &Builder) -> Result<(), Failed> {
    let (vm0, world) = (&fleet.guests[0], world(fleet)?);
    let gone = || world.all.ring(0, 3, 0).to_string() == "lost: no such peer";
    let mut left_behind = "before VM3";
    run(vm0, ALL, "map", &[left_behind])?;
    for text in ["first life", "second life"] {
        // Nobody is there: no error, no effect.
        equal(gone(), true)?;
        run(vm0, ALL, "ring_doorbell", &["3", "0"])?;

        let vm3 = world.machine(builder, 3).boot()?;
        equal(run(&vm3, ALL, "map", &[])?.as_str(), left_behind)?;
        run(&vm3, ALL, "map", &[text])?;
        ring_and_read((vm0, ALL), (&vm3, ALL), 3, 1)?;
        ring_and_read((&vm3, ALL), (vm0, ALL), 0, 1)?;

        vm3.poweroff()?;
        // QEMU has ended; that its connection is closed is noticed a moment later.
        test_limit::wait_until("VM3 is gone", gone);
        equal(run(vm0, ALL, "map", &[])?.as_str(), text)?;
        left_behind = text;
    }
    Ok(())
}

/// The hypervisor forgets the ID when the guest's system maps BAR0; the parameter says it again.
fn position_is_forgotten(fleet: &Fleet) -> Result<(), Failed> {
    let vm1 = &fleet.guests[1];
    contains(&run(vm1, OLD, "ring_doorbell", &[])?, "this is peer 0")?;
    vm1.shell("rmmod ivshmem_rs && insmod /ivshmem_rs.ko peer_id=1")?
        .check()?;
    // It rings itself by the ID that it was told, and hears it.
    contains(&run(vm1, OLD, "read_events", &[])?, "vector 0: count 1")?;
    contains(&run(vm1, OLD, "ring_doorbell", &[])?, "this is peer 1")
}
