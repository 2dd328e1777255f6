// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Two guests that reach each other by IP through the memory, by forwarded ports, and by cards of virtio-net.

use anyhow::{Context, Result};
use vmbench::{boot_all, build, Accel, Device, Guest, Region};

use crate::link::{self, ADDRESSES};
use crate::machine::{built, guest_path, with_modules, Clock};
use crate::series::{self, Quantiles, Run, Unit};

const BYTES: u64 = 16 << 20;
const VECTORS: u16 = 4;

const PROGRAM: &str = "/bin/ivshmemctl";

/// The parts of the memory for the tunnel and for forwarded ports.
const TUNNEL: &str = "--size 8M";
const FORWARD: &str = "--offset 8M --size 8M";

/// Where the receiver listens, and where the forwarded port is in the sender.
const PORT: &str = "5001";
const FORWARDED: &str = "5002";

/// MiB of a transfer, and how many count.
const MIB: &str = "16";
const ROUNDS: &str = "5";

/// The two guests. The first sends.
pub struct Network {
    guests: Vec<Guest>,
    /// Their addresses in the tunnel.
    tunnel: Vec<String>,
    _region: Region,
}

impl Network {
    /// Boots both, and waits until they reach each other in each way.
    pub fn boot(accel: Accel, clock: Clock) -> Result<Self> {
        let region = Region::start(BYTES, VECTORS)?;
        let guest = Guest::builder()
            .accel(accel)
            .device(Device::doorbell(&region))
            .module(built("module/ivshmem_rs.ko")?)
            .file(build::static_binary("ivshmemctl", "ivshmemctl")?, PROGRAM);
        let mut guest = with_modules(guest, &["drivers/net/tun"])?;
        for program in ["roundtrip", "stream"] {
            guest = guest.file(built(&format!("bench/{program}"))?, guest_path(program));
        }
        if clock == Clock::Instructions {
            // Where nothing runs, time goes on as the host's does: the other machine works meanwhile. Without fast strings, of
            // which each byte would count as an instruction.
            guest = guest
                .qemu_args(["-icount", "shift=1,align=off,sleep=on"])
                .qemu_args(["-cpu", "max,erms=off,fsrm=off"]);
        }
        let socket = region.socket();
        let end = |name, listens| link::with_net(guest.clone().name(name), &socket, listens);
        let guests = boot_all(&[end("sends", true)?, end("receives", false)?])?;
        link::bring_up(&guests)?;
        let address = |id: &String| Ok(format!("10.110.0.{}", id.trim().parse::<u8>()? + 1));
        let tunnel: Result<Vec<_>> = link::peer_ids(&guests)?.iter().map(address).collect();
        let network = Self {
            guests,
            tunnel: tunnel?,
            _region: region,
        };
        network
            .connect()
            .context("the machines are not connected")?;
        Ok(network)
    }

    fn connect(&self) -> Result<()> {
        let [sends, receives] = &self.guests[..] else {
            anyhow::bail!("two guests");
        };
        background(sends, &format!("tunnel --overwrite {TUNNEL}"))?;
        background(receives, &format!("tunnel {TUNNEL}"))?;
        let there = &self.tunnel[1];
        sends
            .shell(&format!("until ping -c 1 -W 1 {there}; do sleep 1; done"))?
            .check()?;
        let allow =
            format!("forward --overwrite {FORWARD} --name receives --allow 127.0.0.1:{PORT}");
        background(receives, &allow)?;
        let to = format!("forward {FORWARD} -L {FORWARDED}:receives:127.0.0.1:{PORT}");
        background(sends, &to)?;
        let here = "until grep -q '\"event\":\"here\"' /forward.log; do sleep 0.1; done";
        sends.shell(here)?.check()?;
        Ok(())
    }

    /// Measures how long bytes and round trips take.
    pub fn times(&self, run: &mut Run) -> Result<()> {
        run.extend(self.streams("time")?);
        let tunnel = [&*self.tunnel[0], &*self.tunnel[1]];
        for (name, addresses) in [("tunnel", tunnel), ("virtio_net", ADDRESSES)] {
            let measured = link::round_trips(&self.guests, "virtio_net", addresses)?;
            let round_trip = measured["pair.virtio_net"];
            run.insert(format!("network.{name}.round_trip"), round_trip);
        }
        Ok(())
    }

    /// Measures how long both machines are busy with the bytes.
    pub fn busy(&self, run: &mut Run) -> Result<()> {
        let streams = self.streams("busy")?;
        for name in ["tunnel", "forward", "virtio_net"] {
            let of = |role| streams[&format!("network.{name}.{role}")].p50;
            let both = Quantiles::all(of("sender") + of("receiver"));
            run.insert(format!("network.{name}.busy"), both);
        }
        Ok(())
    }

    fn streams(&self, what: &str) -> Result<Run> {
        let mut run = self.stream(what, "tunnel", &self.tunnel[1], PORT)?;
        run.extend(self.stream(what, "forward", "127.0.0.1", FORWARDED)?);
        run.extend(self.stream(what, "virtio_net", ADDRESSES[1], PORT)?);
        Ok(run)
    }

    fn stream(&self, what: &str, name: &str, address: &str, port: &str) -> Result<Run> {
        let (program, name) = (guest_path("stream"), format!("network.{name}"));
        let mut receiving = self.guests[1]
            .command([&program, "receive", PORT, &name, MIB, ROUNDS, what])
            .spawn()?;
        receiving.wait_for_output("ready")?;
        let sent =
            self.guests[0].run([&program, "send", address, port, &name, MIB, ROUNDS, what])?;
        let sent = sent.check().with_context(|| name.clone())?.stdout_text();
        let received = receiving.wait()?.check()?.stdout_text();
        let mut run = series::parse(&sent, Unit::Nanoseconds)?;
        let numbers = received.lines().filter(|line| *line != "ready");
        let received = numbers.collect::<Vec<_>>().join("\n");
        run.extend(series::parse(&received, Unit::Nanoseconds)?);
        Ok(run)
    }
}

/// Starts ivshmemctl, for as long as the guest runs; its output is in the command's log.
fn background(guest: &Guest, arguments: &str) -> Result<()> {
    let command = arguments.split(' ').next().unwrap_or_default();
    let line = format!("{PROGRAM} --json {arguments} </dev/null >/{command}.log 2>&1 &");
    guest.shell(&line)?.check()?;
    Ok(())
}
