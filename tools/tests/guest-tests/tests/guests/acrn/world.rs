// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The regions, and which machine has which device in which slot.
//!
//! | | `HV`, hv-land | `DM`, dm-land | `ALL`, hv-land | `OLD`, hv-land of ACRN 2.4 |
//! |---|---|---|---|---|
//! | VM0, pre-launched | 08 | | 07 | |
//! | VM1, post-launched | | 06 | 07 | 09 |
//! | VM2, post-launched | 05 | 06 | 07 | |
//! | VM3, which comes later | | | 07 | |
//!
//! `HV` and `DM` have the same name, and VM2 has both. VM0 is not started by acrn-dm: nobody says where its device
//! goes, and 08 is the first slot that ACRN gives.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, mem};

use ivshmem_model::flavour::{AcrnDm, AcrnHv};
use ivshmem_model::{Event, Region};
use ivshmem_vfio_user::{Backing, Endpoint, Host};
use tempfile::TempDir;
use vmbench::Builder;

/// Bytes of each region.
pub const SIZE: u64 = 2 << 20;

/// Region ID of `HV`.
pub const REGION_ID: u16 = 0x1234;

/// Slot of `HV` in VM0.
pub const HV_VM0: u8 = 8;
/// Slot of `HV` in VM2.
pub const HV_VM2: u8 = 5;
/// Slot of `DM`.
pub const DM: u8 = 6;
/// Slot of `ALL`.
pub const ALL: u8 = 7;
/// Slot of `OLD`.
pub const OLD: u8 = 9;

/// Regions and their sockets.
pub struct World {
    /// Serves `HV`.
    pub hv: Host,
    /// Serves `ALL`.
    pub all: Host,
    /// The file that is the memory of `DM`, as in ACRN's Service VM.
    pub dm_file: PathBuf,
    rings: Arc<Mutex<Vec<String>>>,
    endpoints: Vec<(u16, u8, Endpoint)>,
    _directory: TempDir,
}

impl World {
    /// Listens for all machines.
    pub fn new() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let hv = hv_land(AcrnHv::V3_3, "shm_region_0")?;
        let all = hv_land(AcrnHv::V3_3, "all")?;
        let old = hv_land(AcrnHv::V2_4, "old")?;
        let dm_file = directory.path().join("shm_region_0");
        let dm = dm_land(&dm_file)?;

        let seats = [
            (&hv, 0, HV_VM0),
            (&hv, 2, HV_VM2),
            (&dm, 1, DM),
            (&dm, 2, DM),
            (&all, 0, ALL),
            (&all, 1, ALL),
            (&all, 2, ALL),
            (&all, 3, ALL),
            (&old, 1, OLD),
        ];
        let mut endpoints = Vec::new();
        for (host, vm, slot) in seats {
            let path = directory.path().join(format!("vm{vm}-{slot}"));
            endpoints.push((vm, slot, host.listen(vm, &path)?));
        }

        let rings: Arc<Mutex<Vec<String>>> = Arc::default();
        let noted = Arc::clone(&rings);
        hv.with(|region| {
            region.observe(move |event| {
                if let Event::Ring { .. } = event {
                    let mut rings = noted.lock().unwrap_or_else(PoisonError::into_inner);
                    rings.push(event.to_string());
                }
            })
        });
        Ok(Self {
            hv,
            all,
            dm_file,
            rings,
            endpoints,
            _directory: directory,
        })
    }

    /// What became of the rings in `HV` since the last call.
    pub fn rings(&self) -> Vec<String> {
        mem::take(&mut self.rings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A machine with all devices of its ID.
    pub fn machine(&self, builder: &Builder, vm: u16) -> Builder {
        let mine = self.endpoints.iter().filter(|(owner, ..)| *owner == vm);
        mine.fold(
            builder.clone().name(format!("VM{vm}")),
            |builder, (_, slot, endpoint)| {
                let address = format!("{{\"addr\":\"{slot:02x}.0\",");
                let device = endpoint.qemu_device().replacen('{', &address, 1);
                builder.qemu_args(["-device".to_string(), device])
            },
        )
    }
}

fn hv_land(flavour: AcrnHv, name: &str) -> io::Result<Host> {
    let region = Region::new(flavour, Backing::anonymous(name, SIZE)?);
    Ok(Host::new(region.with_region_id(REGION_ID)))
}

fn dm_land(path: &std::path::Path) -> io::Result<Host> {
    let mut options = File::options();
    let memory = options.read(true).write(true).create_new(true).open(path)?;
    memory.set_len(SIZE)?;
    Ok(Host::new(Region::new(AcrnDm::V3_3, Backing::file(memory)?)))
}
