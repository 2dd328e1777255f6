// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A device without a driver of its own, by the files that sysfs has for each PCI device.

mod msix;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use ivshmem_abi::pci::{BAR_MEMORY, BAR_REGISTERS, DEVICE_ID, VENDOR_ID};
use ivshmem_abi::regs;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::param::page_size;

use crate::poll::{poll_word, POLL_INTERVAL};
use crate::{
    forward_memory, Access, Cache, Doorbell, Error, Function, Info, Locking, Mapping, Memory,
    Process, Result, Waiter,
};

/// What a register of a device reads that is gone.
const GONE: u32 = u32::MAX;

/// A guest's end without the driver: the device's registers and memory, mapped from `resource0` and `resource2` in
/// sysfs. For root, where kernel lockdown (Secure Boot) allows it.
///
/// It rings others. It cannot be rung: [`Doorbell::vectors`] is 0, [`Waiter::wait_word`] looks at the word again and
/// again, and [`Waiter::wait`] gives [`Error::NoInterrupts`]. The memory is write-combining or uncached, which makes
/// reading it many times slower than through the driver.
///
/// After removal the memory reads as ones, or is that of a device that was plugged in its place;
/// [`Doorbell::is_gone`] and [`Waiter::wait_word`] tell of it.
#[derive(Debug)]
pub struct ResourceEndpoint {
    registers: Registers,
    mapping: Mapping,
    info: Info,
    interval: Duration,
    /// The configuration space, which cannot be read any more when this device is gone, whatever is in its place.
    config: File,
    /// What is mapped.
    memory: File,
    /// Dropped last.
    _enabled: Option<Enabled>,
}

/// BAR0, which is a part of the page that can be mapped.
#[derive(Debug)]
struct Registers {
    page: Mapping,
    /// Where in the page it begins.
    start: u64,
}

/// A device that was enabled here, by this file, for this process.
#[derive(Debug)]
struct Enabled(PathBuf, Process);

impl ResourceEndpoint {
    /// Opens a device that no driver keeps for itself, and enables it.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if this takes root, or the kernel is locked down; [`Error::Claimed`] if a driver has it;
    /// [`Error::NoMemory`]; [`Error::Gone`]; [`Error::Io`].
    pub fn open(function: &Function) -> Result<Self> {
        let directory = &function.directory;
        let enabled = Enabled::new(directory)?;
        if function.size == 0 {
            return Err(Error::NoMemory(function.bus_id.clone()));
        }
        let registers = Registers::open(function)?;
        let mut config = open(&directory.join("config"), OFlags::RDONLY)?;
        let vectors_offered = msix::vectors(&all_of(&mut config)?);
        // Where BAR2 cannot be prefetched there is no such file.
        let combining = directory.join(format!("resource{BAR_MEMORY}_wc"));
        let (path, cache) = match combining.exists() {
            true => (combining, Cache::WriteCombining),
            false => (
                directory.join(format!("resource{BAR_MEMORY}")),
                Cache::Uncached,
            ),
        };
        let len = usize::try_from(function.size)
            .map_err(|_| Error::Argument(format!("{} bytes do not fit here", function.size)))?;
        let (memory, mapping) = map(function, &path, len)?;
        let info = Info {
            abi_version: 0,
            doorbell: vectors_offered > 0,
            peer_id_overridden: false,
            registers_mappable: true,
            size: function.size,
            peer_id: registers.load(regs::IV_POSITION)?,
            vectors: 0,
            vectors_offered,
            revision: 0,
            subsystem_vendor: function.subsystem.0,
            subsystem_device: function.subsystem.1,
            cache,
            page_size: page_size() as u64,
            generation: 0,
            bus_id: function.bus_id.clone(),
        };
        Ok(Self {
            registers,
            mapping,
            info,
            interval: POLL_INTERVAL,
            config,
            memory,
            _enabled: enabled,
        })
    }

    /// Looks at what is waited for in each `interval`, instead of in each millisecond. Zero is no pause, and keeps a
    /// processor busy.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// What was known of the device when it was opened. There is no driver to tell, so `abi_version`, `revision` and
    /// `generation` are 0.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The memory.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    fn check_alive(&self) -> Result<()> {
        let mut ids = [0; 4];
        let read = self.config.read_exact_at(&mut ids, 0);
        let [a, b, c, d] = ids;
        let ids = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
        let there = read.is_ok() && ids == (VENDOR_ID, DEVICE_ID);
        match there && self.registers.load(regs::IV_POSITION)? != GONE {
            true => Ok(()),
            false => Err(Error::Gone),
        }
    }
}

impl Registers {
    fn open(function: &Function) -> Result<Self> {
        let path = function.directory.join(format!("resource{BAR_REGISTERS}"));
        Ok(Self {
            page: map(function, &path, page_size())?.1,
            start: function.registers % page_size() as u64,
        })
    }

    fn load(&self, register: usize) -> Result<u32> {
        let at = self.start + register as u64;
        Ok(self.page.load32(at, Ordering::Relaxed)?)
    }

    /// Writes a register, after all that this thread wrote to the memory.
    fn store(&self, register: usize, value: u32) -> Result<()> {
        let at = self.start + register as u64;
        Ok(self.page.store32(at, value, Ordering::Release)?)
    }
}

impl Enabled {
    /// Has the device decode accesses for as long as this lives: the kernel counts who has asked for it. Where a driver is
    /// bound, that one has.
    fn new(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join("enable");
        match write(&path, "1") {
            Ok(()) => Ok(Some(Self(path, Process::this()))),
            Err(error) if errno_of(&error) == Errno::BUSY => Ok(None),
            Err(error) => Err(refused(&path, error)),
        }
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        if self.1.is_this() {
            // A device that is gone needs it no more, and a driver that was bound meanwhile goes on.
            let _ = write(&self.0, "0");
        }
    }
}

/// Writes to a file that is there.
fn write(path: &Path, text: &str) -> io::Result<()> {
    File::options()
        .write(true)
        .open(path)?
        .write_all(text.as_bytes())
}

fn open(path: &Path, flags: OFlags) -> Result<File> {
    let flags = flags | OFlags::SYNC | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        .map(File::from)
        .map_err(|errno| refused(path, errno.into()))
}

fn all_of(file: &mut File) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = file.read_to_end(&mut bytes);
    read.map_err(|error| Error::io(error, "cannot read the configuration space"))?;
    Ok(bytes)
}

/// Maps `len` bytes of a resource file of the device, whose stores do not keep their order by themselves.
fn map(function: &Function, path: &Path, len: usize) -> Result<(File, Mapping)> {
    let file = open(path, OFlags::RDWR)?;
    match Mapping::of(&file, 0, len, Access::ReadWrite) {
        Ok(mapping) => Ok((file, mapping.with_weak_order(true))),
        Err(Error::Io { source, what }) => Err(match (errno_of(&source), &function.driver) {
            // The kernel's option CONFIG_IO_STRICT_DEVMEM.
            (Errno::INVAL, Some(driver)) => Error::Claimed {
                bus_id: function.bus_id.clone(),
                driver: driver.clone(),
            },
            (Errno::PERM | Errno::NODEV, _) => refused(path, source),
            _ => Error::Io { source, what },
        }),
        Err(other) => Err(other),
    }
}

/// What it means that a file of the device cannot be used.
fn refused(path: &Path, source: io::Error) -> Error {
    let gone = || path.parent().is_some_and(|directory| !directory.exists());
    let advice = match errno_of(&source) {
        Errno::NODEV => return Error::Gone,
        Errno::NOENT if gone() => return Error::Gone,
        Errno::NOENT => "the kernel has no such file for the device: its BAR has no address, see dmesg",
        Errno::ACCESS => {
            "only root may use the device by sysfs: run this as root, or bind vfio-pci to the device, whose file in \
             /dev/vfio can be given to others"
        }
        Errno::PERM => {
            "the kernel keeps programs away from the device, as it is locked down (Secure Boot) or this is a container: \
             bind vfio-pci or ivshmem_rs to the device"
        }
        Errno::ROFS => "sysfs is mounted read-only, as in a container: run this outside of it",
        _ => "cannot be used",
    };
    Error::Refused {
        path: path.into(),
        advice,
        source,
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl Doorbell for ResourceEndpoint {
    /// The device's word of now: a guest that was restored can have another ID.
    fn peer_id(&self) -> u32 {
        let now = self.registers.load(regs::IV_POSITION);
        now.ok()
            .filter(|id| *id != GONE)
            .unwrap_or(self.info.peer_id)
    }

    fn vectors(&self) -> u32 {
        0
    }

    fn ring(&self, peer: u32, vector: u32) -> Result<()> {
        let doorbell = regs::Doorbell::new(peer, vector)
            .ok_or_else(|| Error::Argument(format!("vector {vector} of peer {peer} cannot be")))?;
        if !self.info.doorbell {
            return Err(Error::NoDoorbell);
        }
        self.registers.store(regs::DOORBELL, doorbell.bits())
    }

    fn lock(&self, number: u64) -> Locking {
        Locking::of(&self.memory, number)
    }

    fn is_gone(&self) -> bool {
        self.check_alive().is_err()
    }
}

impl Waiter for ResourceEndpoint {
    fn wait(&self, _vectors: u64, _timeout: Option<Duration>) -> Result<u64> {
        Err(Error::NoInterrupts)
    }

    fn wait_word(&self, offset: u64, value: u32, timeout: Option<Duration>) -> Result<bool> {
        let alive = || self.check_alive();
        poll_word(&self.mapping, offset, value, timeout, self.interval, alive)
    }

    fn interval(&self) -> Duration {
        self.interval
    }
}

forward_memory!({} ResourceEndpoint, ResourceEndpoint::mapping);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_it_takes() {
        let said = |errno: Errno| {
            let error = refused(Path::new("/proc/self/resource2"), errno.into());
            error.to_string()
        };
        assert!(said(Errno::ACCESS).contains("run this as root"));
        assert!(said(Errno::PERM).contains("locked down"));
        assert!(said(Errno::ROFS).contains("read-only"));
        assert!(said(Errno::NOENT).contains("its BAR has no address"));
        assert!(said(Errno::NODEV).contains("the device is gone"));
    }
}
