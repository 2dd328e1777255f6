// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The regions at work: memory, model, sockets.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{bail, Context, Result};
use ivshmem_acrn::{Bdf, Provider, Region};
use ivshmem_model::{Event, Region as Model};
use ivshmem_vfio_user::{Backing, Endpoint, Host};
use rustix::fs::OFlags;
use tracing::{debug, trace};

use crate::cli::Options;

/// A device that QEMU can connect to.
#[derive(Debug)]
pub struct Seat {
    /// The virtual machine.
    pub vm: u16,
    /// Where its device goes.
    pub bdf: Bdf,
    /// The region, with prefix.
    pub region: String,
    /// The socket.
    pub endpoint: Endpoint,
}

/// Makes the regions and listens for all their virtual machines.
pub fn serve(regions: &[Region], options: &Options, sockets: &Path) -> Result<Vec<Seat>> {
    let record = match &options.record {
        Some(path) => Some(Record::open(path)?),
        None => None,
    };
    let mut seats = Vec::new();
    for region in regions {
        let host = host(region, options, record.clone())
            .with_context(|| format!("region {}", region.full_name()))?;
        for member in &region.members {
            let land = region.provider.prefix().trim_end_matches(":/");
            let path = sockets.join(format!("vm{}-{land}-{}", member.vm, region.name));
            let endpoint = host
                .listen(member.vm, &path)
                .with_context(|| format!("cannot listen on {}", path.display()))?;
            seats.push(Seat {
                vm: member.vm,
                bdf: member.bdf,
                region: region.full_name(),
                endpoint,
            });
        }
    }
    seats.sort_by_key(|seat| (seat.vm, seat.bdf));
    Ok(seats)
}

fn host(region: &Region, options: &Options, record: Option<Record>) -> Result<Host> {
    let memory = match region.provider {
        Provider::Hypervisor => Backing::anonymous(region.name.as_str(), region.size.bytes())?,
        Provider::DeviceModel => Backing::file(dm_memory(region, &options.shm_dir)?)?,
    };
    let release = options.release;
    let model = match (options.flavour.vmm(), region.provider) {
        (Some(vmm), _) => Model::new(vmm, memory),
        (None, Provider::Hypervisor) => Model::new(release.hv(), memory),
        (None, Provider::DeviceModel) => Model::new(release.dm(options.ovmf), memory),
    };
    let mut model = model.with_region_id(region.id);
    for member in &region.members {
        if let Some(id) = member.region_id {
            model = model.with_region_id_for(member.vm, id);
        }
    }
    let name = region.full_name();
    model.observe(move |event| {
        match event {
            Event::Read { .. } | Event::Write { .. } => trace!(region = name, "{event}"),
            _ => debug!(region = name, "{event}"),
        }
        if let Some(record) = &record {
            record.line(&name, event);
        }
    });
    Ok(Host::new(model))
}

/// Opens the memory of a dm-land region as `acrn-dm` does: whoever comes first creates it, everybody else
/// must want the same size, and nobody removes it.
fn dm_memory(region: &Region, directory: &Path) -> Result<File> {
    let path = directory.join(region.name.as_str());
    let failed = |error| format!("failed to get {} status, error {error}", region.name);
    let mut open = OpenOptions::new();
    open.read(true).write(true).mode(0o600);
    // As shm_open() does: the directory is everybody's.
    // CAST: A flag of open().
    open.custom_flags(OFlags::NOFOLLOW.bits() as i32);
    let size = region.size.bytes();
    match open.clone().create_new(true).open(&path) {
        Ok(file) => {
            file.set_len(size)
                .with_context(|| format!("can't resize the shm size {size}"))?;
            Ok(file)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let file = open
                .open(&path)
                .map_err(|error| anyhow::anyhow!(failed(error)))?;
            let creator = file.metadata()?.len();
            if creator != size {
                bail!(
                    "shm size is different, cur {size}, creator {creator} (if nobody uses {}, remove it)",
                    path.display()
                );
            }
            Ok(file)
        }
        Err(error) => bail!(failed(error)),
    }
}

/// The file that `--record` names.
#[derive(Clone)]
struct Record(Arc<Mutex<File>>);

impl Record {
    fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot record in {}", path.display()))?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    /// A line at a time, so that the file is complete whenever somebody looks.
    fn line(&self, region: &str, event: &Event) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(format!("{region} {event}\n").as_bytes()) {
            tracing::error!("cannot record: {error}");
        }
    }
}
