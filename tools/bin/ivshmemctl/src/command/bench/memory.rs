// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Copies into and out of memory.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{anyhow, Context, Result};
use ivshmem::{Access, AccessError, Error, Mapping, Memory};
use rustix::fs::{ftruncate, memfd_create, MemfdFlags};

use super::party::{Party, BLOCK, MARK_VALUE};
use super::report::{Report, Unit};
use super::timing::{per_call, rate};
use crate::claim::MARK;

/// A memory, or why there is none, and where its block begins.
type Source<'a> = (&'static str, Result<&'a dyn Memory, String>, u64);

/// Measures plain memory, the shared memory, and that as sysfs maps it.
pub fn measure(report: &mut Report, party: &Party, time: Duration) -> Result<()> {
    let plain = plain()?;
    let sysfs = match party.kind.endpoint() {
        Some(endpoint) => sysfs(&endpoint.info().bus_id),
        None => Err(anyhow!("a host has no device")),
    };
    let sysfs = sysfs.as_ref().map(|mapping| mapping as &dyn Memory);
    let sysfs = sysfs.map_err(|error| format!("{error:#}"));
    let at = party.place(0);
    let sources: [Source<'_>; 3] = [
        ("plain memory", Ok(&plain), 0),
        ("shared memory", Ok(&party.link), at),
        ("the same by sysfs resource2", sysfs, at),
    ];
    let mut buffer = vec![1; BLOCK];
    // Whatever ends this, the block can be told to be ours.
    let mark = usize::try_from(MARK)?;
    buffer[mark..mark + 4].copy_from_slice(&MARK_VALUE.to_le_bytes());
    let mut copy = |group, call: &mut dyn FnMut(&dyn Memory, u64) -> Result<(), AccessError>| {
        for (what, memory, at) in &sources {
            let memory = memory.as_ref().map_err(|reason| anyhow!("{reason}"));
            let took = memory.and_then(|memory| per_call(time, || Ok(call(*memory, *at)?)));
            let rates = took.map(|nanoseconds| rate(BLOCK, nanoseconds));
            report.add(group, what, Unit::MibPerSecond, rates);
        }
    };
    copy("copy into", &mut |memory, at| memory.write(at, &buffer));
    copy("copy out of", &mut |memory, at| {
        memory.read(at, &mut buffer)
    });
    Ok(())
}

/// Memory that is made and mapped as the shared memory is, and is just memory.
fn plain() -> Result<Mapping> {
    let file = memfd_create("bench", MemfdFlags::CLOEXEC).context("cannot make plain memory")?;
    // CAST: A small constant.
    ftruncate(&file, BLOCK as u64)?;
    Ok(Mapping::of(file, 0, BLOCK, Access::ReadWrite)?)
}

/// All of the region as whoever has no driver gets it, as root.
fn sysfs(bus_id: &str) -> Result<Mapping> {
    let path = Path::new("/sys/bus/pci/devices")
        .join(bus_id)
        .join("resource2");
    let file = File::options().read(true).write(true).open(&path)?;
    let len = usize::try_from(file.metadata()?.len())?;
    Mapping::of(file, 0, len, Access::ReadWrite).map_err(|error| match error {
        Error::Io { source, .. } if source.kind() == ErrorKind::InvalidInput => {
            anyhow!("refused while a driver has it; iomem=relaxed may allow it")
        }
        error => error.into(),
    })
}
