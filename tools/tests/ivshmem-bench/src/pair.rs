// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Two guests with everything between them that they can send each other messages with.

use std::path::Path;

use anyhow::{Context, Result};
use vmbench::{boot_all, Accel, Builder, Device, Guest, Region};

use crate::machine::{built, guest_path, with_modules};
use crate::series::{self, Run, Unit};

const PROGRAM: &str = "roundtrip";

/// Round trips that count, in each way.
const ROUNDS: &str = "2000";

/// The ways of this driver, by what `roundtrip` calls them.
const OURS: [&str; 5] = ["read", "eventfd", "poll_read", "WAIT_WORD", "spin"];

const NET_MODULES: [&str; 3] = [
    "net/core/failover",
    "drivers/net/net_failover",
    "drivers/net/virtio_net",
];

/// Their addresses in the network of two.
const ADDRESSES: [&str; 2] = ["10.0.0.1", "10.0.0.2"];

const BYTES: u64 = 1 << 20;
const VECTORS: u16 = 8;
/// The two guests.
pub struct Pair {
    guests: Vec<Guest>,
    /// Their IDs as peers.
    ids: Vec<String>,
    _region: Region,
}

impl Pair {
    /// Boots both, and gives them addresses.
    pub fn boot(accel: Accel) -> Result<Self> {
        let region = Region::start(BYTES, VECTORS)?;
        let mut guest = Guest::builder()
            .accel(accel)
            .device(Device::doorbell(&region))
            .module(built("module/ivshmem_rs.ko")?)
            .file(built(&format!("bench/{PROGRAM}"))?, guest_path(PROGRAM));
        guest = with_modules(guest, &NET_MODULES)?;
        let socket = region.socket();
        let builders = [
            link(guest.clone().name("asks"), &socket, true),
            link(guest.name("answers"), &socket, false),
        ];
        let guests = boot_all(&builders)?;
        let mut ids = Vec::new();
        for (guest, address) in guests.iter().zip(ADDRESSES) {
            let up = format!(
                "ip link set lo up; ip addr add {address}/24 dev eth0; ip link set eth0 up"
            );
            guest.shell(&up)?.check().context("no network")?;
            let attribute = "cat /sys/class/misc/ivshmem0/device/ivshmem/peer_id";
            ids.push(guest.shell(attribute)?.check()?.stdout_text());
        }
        Ok(Self {
            guests,
            ids,
            _region: region,
        })
    }

    /// Measures round trips in each way.
    pub fn measure(&self, run: &mut Run) -> Result<()> {
        for way in OURS {
            run.extend(self.round_trips(way, [&self.ids[0], &self.ids[1]])?);
        }
        run.extend(self.round_trips("virtio_serial", ["-", "-"])?);
        run.extend(self.round_trips("virtio_net", ADDRESSES)?);
        Ok(())
    }

    fn round_trips(&self, way: &str, names: [&str; 2]) -> Result<Run> {
        let (asks, answers) = (&self.guests[0], &self.guests[1]);
        let program = guest_path(PROGRAM);
        let mut answering = answers
            .command([&program, way, "answer", names[0], ROUNDS])
            .spawn()?;
        answering.wait_for_output("ready")?;
        let asked = asks.run([&program, way, "ask", names[1], ROUNDS])?;
        let asked = asked.check().with_context(|| way.to_string())?;
        answering.wait()?.check()?;
        series::parse(&asked.stdout_text(), Unit::Nanoseconds)
    }
}

/// A serial port and a network card whose other ends are the other guest's, through sockets beside the server's.
fn link(guest: Builder, server: &Path, listens: bool) -> Builder {
    let socket = |name| server.with_file_name(name).display().to_string();
    let (serial, net) = (socket("serial"), socket("net"));
    let (serial_end, net_end, mac) = match listens {
        true => ("server=on,wait=off", "server=on", "52:54:00:00:00:01"),
        false => (
            "reconnect-ms=200",
            "server=off,reconnect-ms=200",
            "52:54:00:00:00:02",
        ),
    };
    guest
        .qemu_args([
            "-chardev",
            &format!("socket,id=link,path={serial},{serial_end}"),
        ])
        .qemu_args([
            "-device",
            "virtserialport,bus=vmbench-serial.0,chardev=link,name=bench",
        ])
        .qemu_args([
            "-netdev",
            &format!("stream,id=net,addr.type=unix,addr.path={net},{net_end}"),
        ])
        .qemu_args([
            "-device",
            &format!("virtio-net-pci,netdev=net,mac={mac},romfile="),
        ])
}
