// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A guest of each of two architectures on one region.

use channel_trial::Progress;
use guest_tests::artefacts::Kernel;
use guest_tests::lab::{both, Fleet, Lab};
use ivshmem::Memory;
use ivshmem_peer::Peer;
use libtest_mimic::{Failed, Trial};
use vmbench::{boot_all, Builder, Device, Region};

const MESSAGES: u64 = 100_000;

/// The first kernel is that whose name the cases have.
pub fn cases(kernels: [Kernel; 2]) -> Result<Vec<Trial>, String> {
    let guests = [guest(kernels[0])?.name("a"), guest(kernels[1])?.name("b")];
    let lab = Lab::on(kernels[0], move || {
        let region = Region::start(4 << 20, 8)?;
        let mut ready = Vec::new();
        for guest in &guests {
            let trial = guest.static_binary("channel-trial", "channel-trial")?;
            let guest = guest.clone().file(trial, "/test/channel-trial");
            ready.push(guest.device(Device::doorbell(&region)));
        }
        Ok(Fleet {
            guests: boot_all(&ready)?,
            world: Box::new(region),
        })
    });
    Ok(vec![
        lab.trial("mixed::10000_doorbells_both_ways_with_data", |fleet| {
            both(
                fleet,
                &["/test/pair", "0", "10000"],
                &["/test/pair", "1", "10000"],
            )
        }),
        lab.trial("mixed::100000_channel_messages_to_the_other", |fleet| {
            messages(fleet, "send", "receive")
        }),
        lab.trial("mixed::100000_channel_messages_from_the_other", |fleet| {
            messages(fleet, "receive", "send")
        }),
    ])
}

fn guest(kernel: Kernel) -> Result<Builder, String> {
    Ok(kernel
        .guest()
        .cpus(2)
        .module(kernel.module()?)
        .file(kernel.program("pair")?, "/test/pair"))
}

/// One end sends and the other receives; a peer on the host has the count.
fn messages(fleet: &Fleet, a: &str, b: &str) -> Result<(), Failed> {
    let region: &Region = fleet.world.downcast_ref().ok_or("another set's world")?;
    let witness = Progress(Peer::join(region.socket())?);
    // A channel that is there already goes on with its count.
    witness.0.write(0, &[0; 4096])?;
    witness.clear()?;
    let count = MESSAGES.to_string();
    let command = |role| {
        [
            "/test/channel-trial",
            "--device",
            "/dev/ivshmem0",
            "--messages",
            &count,
            role,
        ]
    };
    both(fleet, &command(a), &command(b))?;
    match witness.received(1)? {
        MESSAGES => Ok(()),
        other => Err(format!("{other} messages of {MESSAGES} were counted").into()),
    }
}
