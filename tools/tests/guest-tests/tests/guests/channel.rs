// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Two guests and the host on one region: the library and its channels over the real driver.

use std::path::PathBuf;
use std::process::Command;

use channel_trial::Progress;
use guest_tests::artefacts;
use guest_tests::lab::{Fleet, Lab};
use ivshmem::Memory;
use ivshmem_peer::Peer;
use libtest_mimic::{Failed, Trial};
use vmbench::build::static_binary;
use vmbench::{boot_all, Device, Guest, Region, Running, Signal};

const SIZE: u64 = 4 << 20;
const MESSAGES: u64 = 20_000;
const KILLS: u64 = 4;

/// What the cases share with the guests.
struct World {
    region: Region,
    trial: PathBuf,
}

pub fn cases() -> Result<Vec<Trial>, String> {
    let module = artefacts::module()?;
    let lab = Lab::new(move || {
        let trial = static_binary("channel-trial", "channel-trial")?;
        let region = Region::start(SIZE, 2)?;
        let guest = Guest::builder()
            .module(&module)
            .file(&trial, "/test/channel-trial")
            .device(Device::doorbell(&region));
        let guests = boot_all(&[guest.clone().name("a"), guest.name("b")])?;
        Ok(Fleet {
            guests,
            world: Box::new(World { region, trial }),
        })
    });
    Ok(vec![
        lab.trial("channel::between_guests_that_crash", |fleet| {
            between_guests(fleet)
        }),
        lab.trial("channel::guest_to_host", |fleet| {
            with_host(fleet, "send", "receive")
        }),
        lab.trial("channel::host_to_guest", |fleet| {
            with_host(fleet, "receive", "send")
        }),
        lab.trial("channel::several_senders_one_of_which_crashes", |fleet| {
            several_senders(fleet)
        }),
    ])
}

fn world(fleet: &Fleet) -> Result<&World, Failed> {
    let world = fleet.world.downcast_ref();
    Ok(world.ok_or("another set's world")?)
}

/// A peer on the host that starts the count anew. What a case before left in the channel is overwritten.
fn witness(fleet: &Fleet, senders: u32) -> Result<Progress<Peer>, Failed> {
    let peer = Peer::join(world(fleet)?.region.socket())?;
    let size = channel_trial::layout(senders).size();
    peer.write(0, &vec![0; usize::try_from(size)?])?;
    let progress = Progress(peer);
    progress.clear()?;
    Ok(progress)
}

/// Starts `role` in a guest; it may have more arguments.
fn start<'a>(guest: &'a Guest, role: &str) -> Result<Running<'a>, Failed> {
    let line = format!("/test/channel-trial --device /dev/ivshmem0 --messages {MESSAGES} {role}");
    Ok(guest.command(line.split_whitespace()).spawn()?)
}

/// The same on the host.
fn on_host(world: &World, role: &str) -> Result<Command, Failed> {
    let mut command = Command::new(&world.trial);
    command.arg("--socket").arg(world.region.socket());
    command.args(["--messages", &MESSAGES.to_string()]);
    command.args(role.split_whitespace());
    Ok(command)
}

fn between_guests(fleet: &Fleet) -> Result<(), Failed> {
    let witness = witness(fleet, 1)?;
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests are needed".into());
    };
    let (mut sender, mut receiver) = (start(a, "send")?, start(b, "receive")?);
    for kill in 1..=KILLS {
        wait_for(&witness, 1, MESSAGES * kill / (KILLS + 1));
        let (killed, guest, role) = match kill % 2 {
            0 => (&mut sender, a, "send"),
            _ => (&mut receiver, b, "receive"),
        };
        killed.signal(Signal::KILL)?;
        let dead = std::mem::replace(killed, start(guest, role)?);
        dead.wait()?;
    }
    sender.wait()?.check()?;
    receiver.wait()?.check()?;
    expect_all(&witness, 1)
}

/// Plays one role in a guest and the other on the host.
fn with_host(fleet: &Fleet, in_guest: &str, role: &str) -> Result<(), Failed> {
    let witness = witness(fleet, 1)?;
    let guest = start(&fleet.guests[0], in_guest)?;
    let status = on_host(world(fleet)?, role)?.status()?;
    guest.wait()?.check()?;
    match status.success() {
        true => expect_all(&witness, 1),
        false => Err(format!("on the host: {status}").into()),
    }
}

/// One ring to a guest, from the other one, from the host, and from a program that is killed again and again.
fn several_senders(fleet: &Fleet) -> Result<(), Failed> {
    const SENDERS: u32 = 3;
    let witness = witness(fleet, SENDERS)?;
    let (a, b) = (&fleet.guests[0], &fleet.guests[1]);
    let send = |number| format!("send --senders {SENDERS} --sender {number}");
    let receiver = start(a, &format!("receive --senders {SENDERS}"))?;
    let lives = start(b, &send(1))?;
    let mut host = on_host(world(fleet)?, &send(2))?.spawn()?;
    let mut killed = start(b, &send(3))?;
    let all = MESSAGES * u64::from(SENDERS);
    for kill in 1..=KILLS {
        // The others go on meanwhile: nobody waits for who is dead.
        wait_for(&witness, SENDERS, all * kill / (KILLS + 1));
        if witness.received(3)? < MESSAGES {
            killed.signal(Signal::KILL)?;
            std::mem::replace(&mut killed, start(b, &send(3))?).wait()?;
        }
    }
    for running in [receiver, lives, killed] {
        running.wait()?.check()?;
    }
    match host.wait()? {
        status if status.success() => expect_all(&witness, SENDERS),
        status => Err(format!("on the host: {status}").into()),
    }
}

fn wait_for(witness: &Progress<Peer>, senders: u32, count: u64) {
    test_limit::wait_for_count("messages received", count, || {
        witness.total(senders).expect("the region is there")
    });
}

fn expect_all(witness: &Progress<Peer>, senders: u32) -> Result<(), Failed> {
    for sender in 1..=senders {
        match witness.received(sender)? {
            MESSAGES => {}
            other => return Err(format!("{other} messages of {MESSAGES} were counted").into()),
        }
    }
    Ok(())
}
