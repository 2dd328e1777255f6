// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A device without a driver of its own, by the files that sysfs has for each PCI device.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use ivshmem_abi::pci::{BAR_MEMORY, BAR_REGISTERS};
use ivshmem_abi::regs;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::param::page_size;

use crate::poll::{poll_word, POLL_INTERVAL};
use crate::{
    forward_memory, Access, Cache, Doorbell, Error, Function, Info, Mapping, Memory, Result, Waiter,
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
/// After removal the memory reads as ones; [`Doorbell::is_gone`] and [`Waiter::wait_word`] tell of it.
#[derive(Debug)]
pub struct ResourceEndpoint {
    registers: Registers,
    mapping: Mapping,
    info: Info,
    interval: Duration,
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

/// A device that was enabled here, by this file.
#[derive(Debug)]
struct Enabled(PathBuf);

impl ResourceEndpoint {
    /// Opens a device that no driver keeps for itself, and enables it if nobody else has.
    ///
    /// # Errors
    ///
    /// [`Error::Permission`]; [`Error::Claimed`] if a driver has it; [`Error::NoNode`] if it is gone;
    /// [`Error::Open`], [`Error::Io`].
    pub fn open(function: &Function) -> Result<Self> {
        let directory = &function.directory;
        let enabled = enable(directory)?;
        let registers = Registers::open(function)?;
        let vectors_offered = msix_vectors(&read(&directory.join("config"))?);
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
        let mapping = map(function, &path, len)?;
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
            _enabled: enabled,
        })
    }

    /// Looks at a word that is waited for in each `interval`, instead of in each millisecond.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// What is known of the device. There is no driver to tell, so `abi_version`, `revision` and `generation` are 0.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The memory.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    fn check_alive(&self) -> Result<()> {
        match self.registers.load(regs::IV_POSITION)? {
            GONE => Err(Error::Gone),
            _ => Ok(()),
        }
    }
}

impl Registers {
    fn open(function: &Function) -> Result<Self> {
        let path = function.directory.join(format!("resource{BAR_REGISTERS}"));
        Ok(Self {
            page: map(function, &path, page_size())?,
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

impl Drop for Enabled {
    fn drop(&mut self) {
        // A device that is gone needs it no more.
        let _ = fs::write(&self.0, "0");
    }
}

/// Has the device decode accesses, if no driver has asked for that.
fn enable(directory: &Path) -> Result<Option<Enabled>> {
    let path = directory.join("enable");
    if read(&path)?.trim_ascii() != b"0" {
        return Ok(None);
    }
    fs::write(&path, "1").map_err(|error| opening(&path, &error))?;
    Ok(Some(Enabled(path)))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| opening(path, &error))
}

fn opening(path: &Path, error: &io::Error) -> Error {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    Error::open(path.into(), errno)
}

/// Maps `len` bytes of a resource file of the device, whose stores do not keep their order by themselves.
fn map(function: &Function, path: &Path, len: usize) -> Result<Mapping> {
    let flags = OFlags::RDWR | OFlags::SYNC | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        .map_err(|errno| Error::open(path.into(), errno))?;
    let mapping = Mapping::of(file, 0, len, Access::ReadWrite);
    let mapping = mapping.map_err(|error| refused(function, path, error))?;
    Ok(mapping.with_weak_order(true))
}

/// What it means that the file cannot be mapped.
fn refused(function: &Function, path: &Path, error: Error) -> Error {
    let Error::Io { source, .. } = &error else {
        return error;
    };
    match (Errno::from_io_error(source), &function.driver) {
        // The kernel's option CONFIG_IO_STRICT_DEVMEM.
        (Some(Errno::INVAL), Some(driver)) => Error::Claimed {
            bus_id: function.bus_id.clone(),
            driver: driver.clone(),
        },
        // Lockdown.
        (Some(Errno::PERM), _) => Error::Permission(path.into()),
        _ => error,
    }
}

/// The vectors of a device with this configuration space; 0 without MSI-X.
fn msix_vectors(config: &[u8]) -> u32 {
    const STATUS: usize = 6;
    const HAS_LIST: u8 = 1 << 4;
    const FIRST: usize = 0x34;
    const MSIX: u8 = 0x11;
    // More do not fit: a list that goes in a circle ends here.
    const MOST: usize = 48;

    let byte = |at: usize| config.get(at).copied().unwrap_or(0);
    if byte(STATUS) & HAS_LIST == 0 {
        return 0;
    }
    let mut at = usize::from(byte(FIRST) & !3);
    for _ in 0..MOST {
        match (at, byte(at)) {
            (0, _) => return 0,
            (_, MSIX) => {
                let control = u16::from_le_bytes([byte(at + 2), byte(at + 3)]);
                return u32::from(control & 0x7ff) + 1;
            }
            _ => at = usize::from(byte(at + 1) & !3),
        }
    }
    0
}

impl Doorbell for ResourceEndpoint {
    fn peer_id(&self) -> u32 {
        self.info.peer_id
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
}

forward_memory!({} ResourceEndpoint, ResourceEndpoint::mapping);

#[cfg(test)]
mod tests {
    use super::*;

    fn config(list: &[(usize, [u8; 4])]) -> Vec<u8> {
        let mut config = vec![0; 256];
        config[6] = 0x10;
        config[0x34] = 0x40;
        for (at, bytes) in list {
            config[*at..at + 4].copy_from_slice(bytes);
        }
        config
    }

    #[test]
    fn msix_is_found_in_the_list() {
        let first = (0x40, [0x10, 0x60, 0, 0]);
        let msix = (0x60, [0x11, 0, 7, 0x80]);
        assert_eq!(msix_vectors(&config(&[first, msix])), 8);
        assert_eq!(msix_vectors(&config(&[first])), 0);
        assert_eq!(msix_vectors(&config(&[(0x40, [0x10, 0x40, 0, 0])])), 0);
        // Only root is shown more than this.
        assert_eq!(msix_vectors(&config(&[first])[..64]), 0);
        assert_eq!(msix_vectors(&[]), 0);
    }
}
