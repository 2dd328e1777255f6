// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who hears whose doorbell, and who does not.

use guest_tests::artefacts::{self, Width};
use guest_tests::lab::{expect_success, Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use vmbench::Guest;

use super::world::{ALL, DM, HV_VM0, HV_VM2};
use super::{contains, equal, node, run, until_asleep, world};

const VECTORS: u16 = 8;

/// What the model says of a ring of VM2's vector 0 by VM0.
const SENT: &str = "0 ring 2.0 sent";
const LOST: &str = "0 ring 2.0 lost: the vector is masked";

pub fn cases(lab: &Lab) -> Result<Vec<Trial>, String> {
    let mut trials = vec![
        lab.trial("acrn::t22_t24_eight_vectors_each_by_itself", vectors),
        lab.trial("acrn::t14_t22_three_machines_ring_each_other", three),
        lab.trial("acrn::t23_t25_programs_for_acrn_s_kernel", eventfds),
        lab.trial(
            "acrn::t26_dm_land_says_that_it_has_no_doorbell",
            no_doorbell,
        ),
        lab.trial("acrn::masked_vector_loses_the_ring_not_the_data", masked),
        lab.trial("acrn::ring_before_the_driver_is_there_is_lost", unbound),
    ];
    // What the interface promises of a device without a doorbell, on dm-land's.
    for case in artefacts::cases(&artefacts::program("plain", Width::Bits64)?)? {
        let name = format!("acrn::t26_dm_land::{case}");
        trials.push(lab.trial(name, move |fleet| {
            let guest = &fleet.guests[2];
            let command = guest.command(["/test/plain", &case]);
            expect_success(command.env("IVSHMEM_PLAIN", node(guest, DM)?).run())
        }));
    }
    Ok(trials)
}

/// Rings from one machine and expects that vector, and only that, in the other.
pub fn ring_and_read(
    (from, from_slot): (&Guest, u8),
    (to, to_slot): (&Guest, u8),
    peer: u16,
    vector: u16,
) -> Result<(), Failed> {
    let waiting = to
        .command(["/test/read_events", "-d", &node(to, to_slot)?, "-w"])
        .spawn()?;
    until_asleep(to, "read_events")?;
    let args = [peer.to_string(), vector.to_string()];
    run(from, from_slot, "ring_doorbell", &[&args[0], &args[1]])?;
    let expected = format!("this is peer {peer}, waiting\nvector {vector}: count 1");
    equal(waiting.wait()?.check()?.stdout_text(), expected)
}

fn vectors(fleet: &Fleet) -> Result<(), Failed> {
    let (vm0, vm2) = ((&fleet.guests[0], HV_VM0), (&fleet.guests[2], HV_VM2));
    for vector in 0..VECTORS {
        ring_and_read(vm0, vm2, 2, vector)?;
        ring_and_read(vm2, vm0, 0, vector)?;
    }
    world(fleet)?.rings();
    // A vector that no device has, and a machine that the region does not know: no error, no effect.
    run(vm0.0, vm0.1, "ring_doorbell", &["2", "8"])?;
    run(vm0.0, vm0.1, "ring_doorbell", &["1", "0"])?;
    let lost = [
        "0 ring 2.8 lost: no such vector",
        "0 ring 1.0 lost: no such peer",
    ];
    equal(world(fleet)?.rings(), lost.map(String::from).to_vec())
}

fn three(fleet: &Fleet) -> Result<(), Failed> {
    for (from, to) in [(1, 0), (1, 2), (0, 1)] {
        let [one, other] = [from, to].map(|vm| (&fleet.guests[vm], ALL));
        ring_and_read(one, other, to as u16, 3)?;
    }
    Ok(())
}

/// The receive loop of programs for ACRN's patched `uio_pci_generic`.
fn eventfds(fleet: &Fleet) -> Result<(), Failed> {
    let (vm0, vm2) = (&fleet.guests[0], &fleet.guests[2]);
    let program = vm2
        .command(["/test/acrn_eventfd", "-d", &node(vm2, HV_VM2)?, "-w"])
        .spawn()?;
    until_asleep(vm2, "acrn_eventfd")?;
    for vector in 0..VECTORS {
        run(vm0, HV_VM0, "ring_doorbell", &["2", &vector.to_string()])?;
    }
    let output = program.wait()?.check()?.stdout_text();
    for vector in 0..VECTORS {
        contains(&output, &format!("vector {vector}: 1 interrupts"))?;
    }
    Ok(())
}

fn no_doorbell(fleet: &Fleet) -> Result<(), Failed> {
    let log = fleet.guests[2].kernel_log()?;
    let line = log
        .lines()
        .find(|line| line.contains("ivshmem_rs 0000:00:06.0"));
    contains(line.unwrap_or(&log), "no doorbell")
}

/// What `wait_word` has counted.
fn word(guest: &Guest, slot: u8) -> Result<u32, Failed> {
    Ok(run(guest, slot, "wait_value", &["0"])?.parse()?)
}

/// Two waiters sleep when the ring for their word is lost. One looks again by itself; the other one is woken by
/// whatever rings next.
fn masked(fleet: &Fleet) -> Result<(), Failed> {
    let (vm0, vm2) = (&fleet.guests[0], &fleet.guests[2]);
    let world = world(fleet)?;
    let node = node(vm2, HV_VM2)?;
    let wanted = (word(vm2, HV_VM2)? + 1).to_string();
    let sleep = |argv: &[&str]| vm2.command(argv.to_vec()).spawn();
    let for_ever = sleep(&["/test/wait_word", "-d", &node, "-w"])?;
    let careful = sleep(&["/test/wait_value", "-d", &node, &wanted])?;
    until_asleep(vm2, "wait_word")?;
    until_asleep(vm2, "wait_value")?;
    world.rings();

    world.hv.mask(2, 0, true);
    run(vm0, HV_VM0, "wait_word", &["2"])?;
    equal(world.rings(), vec![LOST.into()])?;
    equal(careful.wait()?.check()?.stdout_text(), wanted)?;
    vm2.shell("pidof wait_word")?.check()?;

    world.hv.mask(2, 0, false);
    run(vm0, HV_VM0, "ring_doorbell", &["2", "0"])?;
    equal(world.rings(), vec![SENT.into()])?;
    expect_success(for_ever.wait())
}

/// While VM2 has no driver its MSI-X is off, and nothing is kept. The check before the first sleep finds the change.
fn unbound(fleet: &Fleet) -> Result<(), Failed> {
    let (vm0, vm2) = (&fleet.guests[0], &fleet.guests[2]);
    let world = world(fleet)?;
    let wanted = (word(vm2, HV_VM2)? + 1).to_string();
    let driver = |action: &str| {
        let script = format!("echo 0000:00:05.0 >/sys/bus/pci/drivers/ivshmem_rs/{action}");
        expect_success(vm2.shell(&script))
    };
    driver("unbind")?;
    world.rings();
    run(vm0, HV_VM0, "wait_word", &["2"])?;
    let rings = world.rings();
    contains(&rings.join("\n"), "0 ring 2.0 lost: ")?;
    driver("bind")?;
    equal(run(vm2, HV_VM2, "wait_value", &[&wanted])?, wanted)?;
    equal(world.rings(), Vec::new())
}
