// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What two guests have between them beside the shared memory.

use std::path::Path;

use anyhow::{Context, Result};
use vmbench::{Builder, Guest};

use crate::machine::{guest_path, with_modules};
use crate::series::{self, Run, Unit};

/// Their addresses in the network of two.
pub const ADDRESSES: [&str; 2] = ["10.0.0.1", "10.0.0.2"];

/// Round trips that count.
const ROUNDS: &str = "2000";

const NET_MODULES: [&str; 3] = [
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
];

/// A network card whose other end is the other guest's, through a socket beside the server's.
pub fn with_net(guest: Builder, server: &Path, listens: bool) -> Result<Builder> {
    let socket = server.with_file_name("net").display().to_string();
    let (end, mac) = match listens {
        true => ("server=on", "52:54:00:00:00:01"),
        false => ("server=off,reconnect-ms=200", "52:54:00:00:00:02"),
    };
    let netdev = format!("stream,id=net,addr.type=unix,addr.path={socket},{end}");
    let card = format!("virtio-net-pci,netdev=net,mac={mac},romfile=");
    Ok(with_modules(guest, &NET_MODULES)?
        .qemu_args(["-netdev", &netdev])
        .qemu_args(["-device", &card]))
}

/// A serial port whose other end is the other guest's.
pub fn with_serial(guest: Builder, server: &Path, listens: bool) -> Builder {
    let socket = server.with_file_name("serial").display().to_string();
    let end = match listens {
        true => "server=on,wait=off",
        false => "reconnect-ms=200",
    };
    let port = "virtserialport,bus=vmbench-serial.0,chardev=link,name=bench";
    guest
        .qemu_args(["-chardev", &format!("socket,id=link,path={socket},{end}")])
        .qemu_args(["-device", port])
}

/// Gives both their addresses.
pub fn bring_up(guests: &[Guest]) -> Result<()> {
    for (guest, address) in guests.iter().zip(ADDRESSES) {
        let up =
            format!("ip link set lo up; ip addr add {address}/24 dev eth0; ip link set eth0 up");
        guest.shell(&up)?.check().context("no network")?;
    }
    Ok(())
}

/// Their IDs as peers.
pub fn peer_ids(guests: &[Guest]) -> Result<Vec<String>> {
    let attribute = "cat /sys/class/misc/ivshmem0/device/ivshmem/peer_id";
    let id = |guest: &Guest| Ok(guest.shell(attribute)?.check()?.stdout_text());
    guests.iter().map(id).collect()
}

/// From the first guest to the second and back, which know each other by these names.
pub fn round_trips(guests: &[Guest], way: &str, names: [&str; 2]) -> Result<Run> {
    let program = guest_path("roundtrip");
    let mut answering = guests[1]
        .command([&program, way, "answer", names[0], ROUNDS])
        .spawn()?;
    answering.wait_for_output("ready")?;
    let asked = guests[0].run([&program, way, "ask", names[1], ROUNDS])?;
    let asked = asked.check().with_context(|| way.to_string())?;
    answering.wait()?.check()?;
    series::parse(&asked.stdout_text(), Unit::Nanoseconds)
}
