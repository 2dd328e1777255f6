// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Samples with more than two parties, more than one device, or another language.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use guest_tests::lab::Fleet;
use libtest_mimic::Failed;
use vmbench::{build, Guest, Region};

use super::{expect, peer, run};

const DRIVER: &str = "/sys/bus/pci/drivers/ivshmem_rs";

/// The peer ID of a line such as "this is peer 3 of 0000:00:04.0, waiting", and the device's address.
fn device(line: &str) -> Result<(String, &str), Failed> {
    let address = line.split(" of ").nth(1).unwrap_or_default();
    let address = address.split(',').next().unwrap_or_default();
    expect(!address.is_empty(), "no address", line)?;
    Ok((peer(line)?, address))
}

pub fn two_devices(fleet: &Fleet) -> Result<(), Failed> {
    let (a, b) = (&fleet.guests[0], &fleet.guests[1]);
    let mut waiter = a.command(["two_devices", "-w"]).spawn()?;
    let first = waiter.wait_for_output(", waiting")?;
    let second = waiter.wait_for_output(", waiting")?;
    for line in [second, first] {
        let (id, address) = device(&line)?;
        run(b, &format!("ring_doorbell {id} 4"))?;
        waiter.wait_for_output(&format!("{address}: vector 4 was rung"))?;
    }
    waiter.wait()?.check()?;

    let mut waiter = a.command(["two_devices", "-w"]).spawn()?;
    let first = waiter.wait_for_output(", waiting")?;
    let second = waiter.wait_for_output(", waiting")?;
    let (_, address) = device(&second)?;
    a.shell(&format!("echo {address} >{DRIVER}/unbind"))?
        .check()?;
    waiter.wait_for_output(&format!("{address} is gone"))?;
    run(b, &format!("ring_doorbell {} 0", device(&first)?.0))?;
    waiter.wait()?.check()?;
    a.shell(&format!("echo {address} >{DRIVER}/bind"))?
        .check()?;
    Ok(())
}

pub fn ring_many(fleet: &Fleet) -> Result<(), Failed> {
    let (a, b) = (&fleet.guests[0], &fleet.guests[1]);
    // Of three, two are in one machine, and are rung there by the same doorbell.
    let listeners =
        [(a, "1"), (b, "2")].map(|(guest, party)| guest.command(["ring_many", party, "3"]).spawn());
    let told = run(b, "ring_many 0 3")?;
    expect(told == "rang 2 doorbells with one call", "not rung", &told)?;
    for listener in listeners {
        let heard = listener?.wait()?.check()?.stdout_text();
        let news = "heard: all 3 are here, says peer ";
        expect(heard.starts_with(news), "not heard", &heard)?;
    }
    Ok(())
}

/// The peer ID in a line such as: waiting: run "hello 3" in another guest.
fn waits_as(line: &str) -> &str {
    let command = line.split('"').nth(1).unwrap_or_default();
    command.split(' ').nth(1).unwrap_or_default()
}

/// Runs `waits` there, which says by which command it is woken, and runs that here. Returns what it has heard.
fn wake(there: &Guest, waits: &str, here: &Guest, wakes: &str) -> Result<String, Failed> {
    let mut waiter = there.command([waits]).spawn()?;
    let said = waiter.wait_for_output("another guest")?;
    run(here, &format!("{wakes} {}", waits_as(&said)))?;
    Ok(waiter.wait()?.check()?.stdout_text())
}

pub fn greet(fleet: &Fleet) -> Result<(), Failed> {
    let (a, b) = (&fleet.guests[0], &fleet.guests[1]);
    for (waits, wakes) in [("greet", "hello"), ("hello", "greet")] {
        let heard = wake(b, waits, a, wakes)?;
        let line = "vector 0: hello from peer ";
        expect(heard.contains(line), "not heard", &heard)?;
    }
    let absent = a.run(["greet", "-d", "/dev/ivshmem9"])?;
    let said = absent.stderr_text();
    let wanted = "greet: /dev/ivshmem9: No such file or directory";
    expect(said.trim() == wanted, "another error", &said)
}

pub fn host_peer(fleet: &Fleet) -> Result<(), Failed> {
    let region: &Region = fleet.world.downcast_ref().ok_or("no region")?;
    let guest = &fleet.guests[1];
    let program = build::static_binary("ivshmem-samples", "host_peer")?;
    let mut host = Command::new(&program)
        .arg(region.socket())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(host.stdout.take().ok_or("no output")?).lines();
    let mut line = || lines.next().unwrap_or_else(|| Ok("it ended".into()));
    run(guest, &format!("hello {}", waits_as(&line()?)))?;
    let heard = line()?;
    let wanted = "vector 0: hello from peer ";
    expect(heard.starts_with(wanted), "not heard", &heard)?;
    expect(host.wait()?.success(), "it failed", &heard)?;

    let mut waiter = guest.command(["hello"]).spawn()?;
    let said = waiter.wait_for_output("another guest")?;
    let mut greets = Command::new(&program);
    let greets = greets.arg(region.socket()).arg(waits_as(&said));
    expect(greets.status()?.success(), "it does not greet", &said)?;
    let heard = waiter.wait()?.check()?.stdout_text();
    expect(heard.contains(wanted), "not heard", &heard)
}
