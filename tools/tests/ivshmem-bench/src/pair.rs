// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Two guests with everything between them that they can send each other messages with.

use anyhow::Result;
use vmbench::{boot_all, Accel, Device, Guest, Region};

use crate::link::{self, ADDRESSES};
use crate::machine::{built, guest_path};
use crate::series::Run;

/// The ways of this driver, by what `roundtrip` calls them.
const OURS: [&str; 5] = ["read", "eventfd", "poll_read", "WAIT_WORD", "spin"];

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
        let guest = Guest::builder()
            .accel(accel)
            .device(Device::doorbell(&region))
            .module(built("module/ivshmem_rs.ko")?)
            .file(built("bench/roundtrip")?, guest_path("roundtrip"));
        let socket = region.socket();
        let end = |name, listens| {
            let guest = link::with_net(guest.clone().name(name), &socket, listens)?;
            anyhow::Ok(link::with_serial(guest, &socket, listens))
        };
        let guests = boot_all(&[end("asks", true)?, end("answers", false)?])?;
        link::bring_up(&guests)?;
        let ids = link::peer_ids(&guests)?;
        Ok(Self {
            guests,
            ids,
            _region: region,
        })
    }

    /// Measures round trips in each way.
    pub fn measure(&self, run: &mut Run) -> Result<()> {
        for way in OURS {
            run.extend(link::round_trips(
                &self.guests,
                way,
                [&self.ids[0], &self.ids[1]],
            )?);
        }
        run.extend(link::round_trips(
            &self.guests,
            "virtio_serial",
            ["-", "-"],
        )?);
        run.extend(link::round_trips(&self.guests, "virtio_net", ADDRESSES)?);
        Ok(())
    }
}
