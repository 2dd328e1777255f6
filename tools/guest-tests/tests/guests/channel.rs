// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Two guests and the host on one region: the library and its channels over the real driver.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use channel_trial::PROGRESS;
use guest_tests::artefacts;
use guest_tests::lab::{Fleet, Lab};
use ivshmem::Memory;
use ivshmem_peer::Peer;
use libtest_mimic::{Failed, Trial};
use vmbench::build::static_binary;
use vmbench::{boot_all, Device, Guest, Region, Running, Signal};

/// From 2 MiB on the memory is write-back on every firmware.
const SIZE: u64 = 4 << 20;
const MESSAGES: u64 = 20_000;
const KILLS: u64 = 4;
const LIMIT: Duration = Duration::from_secs(300);

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
    ])
}

fn world(fleet: &Fleet) -> Result<&World, Failed> {
    let world = fleet.world.downcast_ref();
    Ok(world.ok_or("another set's world")?)
}

/// A peer on the host that starts the count anew. What a case before left in the channel is overwritten.
fn witness(fleet: &Fleet) -> Result<Peer, Failed> {
    let peer = Peer::join(world(fleet)?.region.socket())?;
    peer.write(0, &vec![0; channel_trial::layout().size() as usize])?;
    peer.store64(PROGRESS, 0, Ordering::SeqCst)?;
    Ok(peer)
}

fn start<'a>(guest: &'a Guest, role: &str) -> Result<Running<'a>, Failed> {
    let messages = MESSAGES.to_string();
    let argv = ["/test/channel-trial", role, "--device", "/dev/ivshmem0"];
    let argv = argv.into_iter().chain(["--messages", &messages]);
    Ok(guest.command(argv).limit(LIMIT).spawn()?)
}

fn between_guests(fleet: &Fleet) -> Result<(), Failed> {
    let witness = witness(fleet)?;
    let [a, b] = &fleet.guests[..] else {
        return Err("two guests are needed".into());
    };
    let (mut sender, mut receiver) = (start(a, "send")?, start(b, "receive")?);
    for kill in 1..=KILLS {
        wait_for(&witness, MESSAGES * kill / (KILLS + 1))?;
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
    expect_all(&witness)
}

/// Plays one role in a guest and the other on the host.
fn with_host(fleet: &Fleet, in_guest: &str, on_host: &str) -> Result<(), Failed> {
    let witness = witness(fleet)?;
    let World { region, trial } = world(fleet)?;
    let guest = start(&fleet.guests[0], in_guest)?;
    let mut command = Command::new(trial);
    command.arg(on_host).arg("--socket").arg(region.socket());
    command.args(["--messages", &MESSAGES.to_string()]);
    let status = command.status()?;
    guest.wait()?.check()?;
    match status.success() {
        true => expect_all(&witness),
        false => Err(format!("on the host: {status}").into()),
    }
}

fn wait_for(witness: &Peer, count: u64) -> Result<(), Failed> {
    let begin = Instant::now();
    while witness.load64(PROGRESS, Ordering::Relaxed)? < count {
        if begin.elapsed() > LIMIT {
            return Err(format!("{count} messages have not come").into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn expect_all(witness: &Peer) -> Result<(), Failed> {
    match witness.load64(PROGRESS, Ordering::Relaxed)? {
        MESSAGES => Ok(()),
        other => Err(format!("{other} messages of {MESSAGES} were counted").into()),
    }
}
