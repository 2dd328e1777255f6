// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Three guests on one tunnel, used by programs that know nothing of it: Debian's iperf3, netcat, ping. And 100 connections to a
//! forwarded port.

use guest_tests::artefacts::{self, Kernel};
use guest_tests::debian;
use guest_tests::lab::{Fleet, Lab};
use libtest_mimic::{Failed, Trial};
use serde_json::{json, Value};
use vmbench::{boot_all, kernel_module, Device, Guest, Region, DEFAULT_MEMORY_MIB};

const SIZE: u64 = 16 << 20;
const VECTORS: u16 = 4;

const PROGRAM: &str = "/bin/ivshmemctl";

/// The parts of the memory for the tunnel and for forwarded ports.
const TUNNEL: &str = "--size 8M";
const FORWARD: &str = "--offset 8M --size 8M";

/// Connections at a time.
const CONNECTIONS: u32 = 100;

/// MiB for iperf3 and its libraries.
const ROOM_MIB: u32 = 48;

pub fn cases() -> Result<Vec<Trial>, String> {
    let kernel = Kernel::DEFAULT;
    let module = kernel.module()?;
    let tun = kernel_module("drivers/net/tun").map_err(|error| error.to_string())?;
    let program = artefacts::iperf3()?.join("iperf3");
    let builder = debian::with_program(kernel.guest(), &program, "/bin/iperf3")
        .map_err(|error| error.to_string())?;
    let lab = Lab::on(kernel, move || {
        let region = Region::start(SIZE, VECTORS)?;
        let program = builder.static_binary("ivshmemctl", "ivshmemctl")?;
        let guest = builder
            .clone()
            .memory_mib(DEFAULT_MEMORY_MIB + ROOM_MIB)
            .file(program, PROGRAM)
            .module(&module)
            .device(Device::doorbell(&region));
        let guest = tun.iter().fold(guest, |guest, tun| guest.module(tun));
        let guests = boot_all(&["a", "b", "c"].map(|name| guest.clone().name(name)))?;
        let world = Box::new(region);
        Ok(Fleet { guests, world })
    });
    type Case = fn(&Fleet) -> Result<(), Failed>;
    let cases: [(&str, Case); 2] = [
        ("three_machines_share_a_tunnel", tunnel),
        (
            "100_forwarded_connections_end_with_their_end",
            forwarded_connections,
        ),
    ];
    let trials = cases.map(|(name, case)| lab.trial(format!("network::{name}"), case));
    Ok(trials.into())
}

/// All reach all, by packets large and small, by TCP, and a line at a time; iperf3 runs as it is.
fn tunnel(fleet: &Fleet) -> Result<(), Failed> {
    let guests = &fleet.guests;
    let addresses = guests.iter().map(address).collect::<Result<Vec<_>, _>>()?;
    for (number, guest) in guests.iter().enumerate() {
        let anew = if number == 0 { "--overwrite" } else { "" };
        end(guest, &format!("tunnel {anew} {TUNNEL}"), "up")?;
    }
    for (number, guest) in guests.iter().enumerate() {
        let others = addresses.iter().enumerate().filter(|(n, _)| *n != number);
        for (_, address) in others {
            let ping = format!("until ping -c 1 -W 1 {address}; do sleep 1; done");
            guest.shell(&ping)?.check()?;
        }
    }
    for (guest, address) in guests.iter().zip(addresses.iter().cycle().skip(1)) {
        guest
            .shell(&format!("ping -c 3 -s 30000 {address}"))?
            .check()?;
    }
    let [a, b, c] = &guests[..] else {
        return Err("three guests".into());
    };
    lines_come_back(a, b, &addresses[1])?;
    // Two at a time to one: neither keeps the other from it.
    for port in [5201, 5202] {
        serve(c, port, &format!("iperf3 -s -p {port}"))?;
    }
    let (port, there) = (["-p", "5201"], &*addresses[2]);
    let other = b.command(["iperf3", "-J", "-c", there, "-p", "5202", "-n", "8M"]);
    let other = other.spawn()?;
    iperf3(
        a,
        &[&["-c", there, "-n", "8M"], &port[..]].concat(),
        8 << 20,
    )?;
    received(&other.wait()?.check()?.stdout_text(), 8 << 20)?;
    for (more, mib) in [(&["-R"][..], 4), (&["-P", "4"], 16)] {
        let bytes = format!("{mib}M");
        iperf3(
            a,
            &[&["-c", there, "-n", &bytes], &port[..], more].concat(),
            mib << 20,
        )?;
    }
    Ok(())
}

fn iperf3(guest: &Guest, arguments: &[&str], bytes: u64) -> Result<(), Failed> {
    let output = guest.run([&["iperf3", "-J"], arguments].concat())?;
    received(&output.check()?.stdout_text(), bytes)
}

/// Expects of iperf3's report that these bytes were sent, and that most of them have arrived: it ends when all were sent, and what
/// is on its way then, up to a window of each connection, does not count.
fn received(report: &str, bytes: u64) -> Result<(), Failed> {
    let report: Value = serde_json::from_str(report)?;
    let count = |what: &str| report["end"][what]["bytes"].as_u64();
    let sent = count("sum_sent").is_some_and(|sent| sent >= bytes);
    let arrived = count("sum_received").is_some_and(|arrived| arrived >= bytes / 2);
    assert!(sent && arrived, "{report}");
    Ok(())
}

/// Line by line, as somebody types: each comes back before the next is sent.
fn lines_come_back(from: &Guest, to: &Guest, address: &str) -> Result<(), Failed> {
    serve(to, 7, "nc -ll -p 7 -e cat")?;
    let script = format!(
        "mkfifo /typed /seen; nc {address} 7 </typed >/seen & exec 3>/typed 4</seen
         for line in $(seq 200); do
             echo $line >&3; read -r back <&4; [ \"$back\" = $line ] || exit 1
         done"
    );
    from.shell(&script)?.check()?;
    Ok(())
}

/// All connections work at a time. When the end that made them is killed they end, and once it is back there are new ones.
fn forwarded_connections(fleet: &Fleet) -> Result<(), Failed> {
    let [listens, connects] = &fleet.guests[..2] else {
        return Err("two guests".into());
    };
    for guest in [listens, connects] {
        guest.shell("ip link set lo up")?.check()?;
    }
    // The queue of busybox's nc has room for 20. Without cookies, who finds it full comes again; with them, the kernel forgets
    // connections that count for the other end.
    connects
        .shell("echo 0 >/proc/sys/net/ipv4/tcp_syncookies")?
        .check()?;
    serve(connects, 7070, "nc -ll -p 7070 -e cat")?;
    let far = format!("forward {FORWARD} --name far --allow 127.0.0.1:7070");
    end(connects, &format!("{far} --overwrite"), "joined")?;
    let near = format!("forward {FORWARD} -L 8080:far:127.0.0.1:7070");
    end(listens, &near, "here")?;
    all_echo(listens)?;

    // Input that does not end, and does not come.
    let script = format!(
        "mkfifo /silence; exec 3<>/silence
         for n in $(seq {CONNECTIONS}); do nc 127.0.0.1 8080 <&3 & done; wait"
    );
    let open = listens.command(["sh", "-c", &script]).spawn()?;
    let all = format!("until [ $(pidof cat | wc -w) = {CONNECTIONS} ]; do sleep 0.1; done");
    connects.shell(&all)?.check()?;
    connects.shell("kill -9 $(pidof ivshmemctl)")?.check()?;
    open.wait()?.check()?;
    end(connects, &far, "joined")?;
    wait_for_event(listens, "forward", "here", 2)?;
    all_echo(listens)?;
    paused(listens, connects)
}

/// A machine that stands still for so long that the others take it for gone: what was open with it ends, and new connections are
/// not taken for it when the machine goes on.
fn paused(listens: &Guest, connects: &Guest) -> Result<(), Failed> {
    let hold = "mkfifo /hold; exec 3<>/hold; echo open >&3; nc 127.0.0.1 8080 <&3";
    let mut open = listens.command(["sh", "-c", hold]).spawn()?;
    open.wait_for_output("open")?;
    let left = said(listens, "forward", "left")?;
    connects.qmp().execute("stop", json!({}))?;
    let gone = wait_for_event(listens, "forward", "left", left + 1);
    connects.qmp().execute("cont", json!({}))?;
    gone?;
    wait_for_event(listens, "forward", "here", 3)?;
    all_echo(listens)?;
    open.wait()?;
    Ok(())
}

/// As many connections as there can be here send all that they have, and get it back.
fn all_echo(guest: &Guest) -> Result<(), Failed> {
    let script = format!(
        "seq 10000 >/numbers
         for n in $(seq {CONNECTIONS}); do
             (nc 127.0.0.1 8080 </numbers | cmp - /numbers || echo $n) &
         done >/failed
         wait; cat /failed; [ ! -s /failed ]"
    );
    guest.shell(&script)?.check()?;
    Ok(())
}

fn address(guest: &Guest) -> Result<String, Failed> {
    let info = guest.shell(&format!("{PROGRAM} --json info"))?.check()?;
    let info: Value = serde_json::from_str(&info.stdout_text())?;
    let id = info["peer_id"].as_u64().ok_or("no peer ID")?;
    Ok(format!("10.110.0.{}", id + 1))
}

/// Starts ivshmemctl, and waits until it says so.
fn end(guest: &Guest, arguments: &str, event: &str) -> Result<(), Failed> {
    let command = arguments.split(' ').next().unwrap_or_default();
    background(guest, command, &format!("{PROGRAM} --json {arguments}"))?;
    wait_for_event(guest, command, event, 1)
}

/// The command that tells how many times the log has an event.
fn count_of(log: &str, event: &str) -> String {
    format!("grep -c '\"event\":\"{event}\"' /{log}.log")
}

fn said(guest: &Guest, log: &str, event: &str) -> Result<u32, Failed> {
    let count = guest.shell(&count_of(log, event))?;
    Ok(count.stdout_text().trim().parse()?)
}

/// Waits until it has been said so many times.
fn wait_for_event(guest: &Guest, log: &str, event: &str, times: u32) -> Result<(), Failed> {
    let count = count_of(log, event);
    let script = format!("until [ $({count}) -ge {times} ]; do sleep 0.1; done");
    guest.shell(&script)?.check()?;
    Ok(())
}

/// Starts a server for as long as the guest runs, and waits until it listens at the TCP port.
fn serve(guest: &Guest, port: u16, command: &str) -> Result<(), Failed> {
    background(guest, &format!("server-{port}"), command)?;
    // The kernel's tables have ports in hexadecimal digits; a socket that listens is in state 0A.
    let listens = format!("grep -q ':{port:04X} [0-9A-F:]* 0A ' /proc/net/tcp /proc/net/tcp6");
    let script = format!("until {listens}; do sleep 0.1; done");
    guest.shell(&script)?.check()?;
    Ok(())
}

/// Starts a command for as long as the guest runs; its output goes to a log.
fn background(guest: &Guest, log: &str, command: &str) -> Result<(), Failed> {
    let line = format!("{command} </dev/null >/{log}.log 2>&1 &");
    guest.shell(&line)?.check()?;
    Ok(())
}
