// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Two guests and the host on one region: the library and its channels over the real driver.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use channel_trial::Progress;
use guest_tests::artefacts::Kernel;
use guest_tests::lab::{Fleet, Lab};
use ivshmem::Memory;
use ivshmem_peer::Peer;
use libtest_mimic::{Failed, Trial};
use vmbench::build::{static_binaries, static_binary};
use vmbench::{boot_all, Device, Guest, Region, Running, Signal};

const SIZE: u64 = 4 << 20;
const MESSAGES: u64 = 20_000;
const KILLS: u64 = 4;
/// The samples that run here.
const SAMPLES: [&str; 3] = ["rpc", "latest", "news"];

/// What the cases share with the guests.
struct World {
    region: Region,
    trial: PathBuf,
    /// Where the samples are on the host.
    samples: PathBuf,
}

pub fn cases(kernel: Kernel) -> Result<Vec<Trial>, String> {
    let module = kernel.module()?;
    let builder = kernel.guest();
    let lab = Lab::on(kernel, move || {
        let trial = static_binary("channel-trial", "channel-trial")?;
        let samples = static_binaries("ivshmem-channel-samples", &SAMPLES)?;
        let region = Region::start(SIZE, 2)?;
        let guest = builder
            .clone()
            .module(&module)
            .file(
                builder.static_binary("channel-trial", "channel-trial")?,
                "/test/channel-trial",
            )
            .device(Device::doorbell(&region));
        let in_guest = builder.static_binaries("ivshmem-channel-samples", &SAMPLES)?;
        let guest = SAMPLES.iter().fold(guest, |guest, sample| {
            guest.file(in_guest.join(sample), format!("/test/{sample}"))
        });
        let guests = boot_all(&[guest.clone().name("a"), guest.name("b")])?;
        Ok(Fleet {
            guests,
            world: Box::new(World {
                region,
                trial,
                samples,
            }),
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
        lab.trial("channel::requests_from_everywhere_are_answered", |fleet| {
            requests(fleet)
        }),
        lab.trial("channel::values_of_a_guest_are_shown_everywhere", |fleet| {
            values(fleet)
        }),
        lab.trial("channel::news_of_the_host_are_read_in_guests", |fleet| {
            news(fleet)
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

/// Takes away whatever channel is there: a sample has a layout of its own.
fn no_channel(fleet: &Fleet) -> Result<(), Failed> {
    let peer = Peer::join(world(fleet)?.region.socket())?;
    Ok(peer.write(0, &[0; 4096])?)
}

/// Starts a sample in a guest.
fn sample<'a>(guest: &'a Guest, name: &str, words: &[&str]) -> Result<Running<'a>, Failed> {
    let program = format!("/test/{name}");
    let command = [&program, "/dev/ivshmem0"].into_iter();
    Ok(guest
        .command(command.chain(words.iter().copied()))
        .spawn()?)
}

/// The same on the host.
fn sample_on_host(fleet: &Fleet, name: &str, words: &[&str]) -> Result<Command, Failed> {
    let world = world(fleet)?;
    let mut command = Command::new(world.samples.join(name));
    command.arg(world.region.socket()).args(words);
    Ok(command)
}

/// What a program on the host says up to its good end.
fn said(mut command: Command) -> Result<String, Failed> {
    let output = command.stderr(Stdio::inherit()).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(format!("on the host: {}", output.status).into()),
    }
}

fn expect(said: &str, wanted: &str) -> Result<(), Failed> {
    match said.contains(wanted) {
        true => Ok(()),
        false => Err(format!("there is no '{wanted}' in '{said}'").into()),
    }
}

/// A server in one guest, clients in the other one and on the host, and another server when the first is killed.
fn requests(fleet: &Fleet) -> Result<(), Failed> {
    no_channel(fleet)?;
    let (a, b) = (&fleet.guests[0], &fleet.guests[1]);
    let mut server = sample(a, "rpc", &["serve"])?;
    server.wait_for_output("serving")?;
    let client = sample(b, "rpc", &["ask", "500"])?;
    expect(
        &said(sample_on_host(fleet, "rpc", &["ask", "500"])?)?,
        "500 answers",
    )?;
    server.signal(Signal::KILL)?;
    server.wait()?;
    let mut server = sample(a, "rpc", &["serve"])?;
    server.wait_for_output("serving")?;
    expect(
        &said(sample_on_host(fleet, "rpc", &["ask", "10"])?)?,
        "10 answers",
    )?;
    expect(&client.wait()?.check()?.stdout_text(), "500 answers")?;
    server.signal(Signal::KILL)?;
    server.wait()?;
    Ok(())
}

fn values(fleet: &Fleet) -> Result<(), Failed> {
    no_channel(fleet)?;
    let measures = sample(&fleet.guests[0], "latest", &["measure", "500"])?;
    let shows = sample(&fleet.guests[1], "latest", &["show"])?;
    expect(
        &said(sample_on_host(fleet, "latest", &["show"])?)?,
        "value 500 is 250000;",
    )?;
    expect(
        &shows.wait()?.check()?.stdout_text(),
        "value 500 is 250000;",
    )?;
    measures.wait()?.check()?;
    Ok(())
}

fn news(fleet: &Fleet) -> Result<(), Failed> {
    no_channel(fleet)?;
    let mut readers = Vec::new();
    for guest in &fleet.guests {
        let mut reader = sample(guest, "news", &["read"])?;
        reader.wait_for_output("reading")?;
        readers.push(reader);
    }
    let mut publishes = sample_on_host(fleet, "news", &["publish"])?;
    let mut publishes = publishes.stdin(Stdio::piped()).spawn()?;
    let mut input = publishes.stdin.take().ok_or("no pipe")?;
    // Fewer than a reader may fall behind.
    for n in 0..50 {
        writeln!(input, "line {n}")?;
    }
    drop(input);
    for reader in readers {
        let said = reader.wait()?.check()?.stdout_text();
        for n in 0..50 {
            expect(&said, &format!("line {n}"))?;
        }
    }
    match publishes.wait()? {
        status if status.success() => Ok(()),
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
