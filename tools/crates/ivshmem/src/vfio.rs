// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A device that vfio-pci has: the one stock driver that hands out its interrupts.
#![allow(unsafe_code)] // The commands of vfio have no safe interface.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{fence, Ordering};
use std::time::{Duration, Instant};

use ivshmem_abi::pci::{BAR_MEMORY, BAR_REGISTERS, MAX_VECTORS};
use ivshmem_abi::regs;
use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::param::page_size;
use vfio_bindings::bindings::vfio::{
    vfio_irq_info, vfio_region_info, VFIO_TYPE1v2_IOMMU, VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_DATA_EVENTFD, VFIO_NOIOMMU_IOMMU, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX,
};

use crate::{
    forward_memory, Access, Cache, Doorbell, Error, Function, Info, Mapping, Memory, Result, Waiter,
};

/// An interrupt adds to its vector's eventfd.
const EACH_AN_EVENTFD: u32 = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;

/// What two threads that wait at once can cost each other: one takes a ring, and the other looks again after this.
const LONGEST_SLEEP: Duration = Duration::from_millis(10);

/// The commands of `linux/vfio.h`, whose numbers are macros there.
mod command {
    use std::ffi::{c_char, c_int};

    use vfio_bindings::bindings::vfio::{vfio_irq_info, vfio_region_info, VFIO_BASE, VFIO_TYPE};

    macro_rules! number {
        ($offset:literal) => {
            nix::request_code_none!(VFIO_TYPE, VFIO_BASE + $offset)
        };
    }

    nix::ioctl_write_int_bad!(set_iommu, number!(2));
    nix::ioctl_write_ptr_bad!(set_container, number!(4), c_int);
    nix::ioctl_write_ptr_bad!(get_device, number!(6), c_char);
    nix::ioctl_readwrite_bad!(region_info, number!(8), vfio_region_info);
    nix::ioctl_readwrite_bad!(irq_info, number!(9), vfio_irq_info);
    // What begins as `struct vfio_irq_set`, and ends with the descriptors.
    nix::ioctl_write_ptr_bad!(set_irqs, number!(10), u32);
}

/// A guest's end by vfio-pci: with interrupts, and memory that is not cached.
///
/// It needs an IOMMU in the guest, or the kernel's no-IOMMU mode, and the right to `/dev/vfio`. One program at a time
/// has the device, and the host's unplug waits until it lets go. There is no [`Waiter::bell`].
#[derive(Debug)]
pub struct VfioEndpoint {
    mapping: Mapping,
    /// Of each vector.
    eventfds: Vec<OwnedFd>,
    info: Info,
    device: Device,
}

/// An open device, and what keeps it so.
#[derive(Debug)]
struct Device {
    file: File,
    /// Where the registers are in the file.
    registers: u64,
    _group: File,
    _container: File,
}

impl VfioEndpoint {
    /// Opens a device that is bound to vfio-pci.
    ///
    /// # Errors
    ///
    /// [`Error::NoNode`] if it has no group of an IOMMU; [`Error::Permission`]; [`Error::Open`] with "busy" if another
    /// program has it; [`Error::Io`].
    pub fn open(function: &Function) -> Result<Self> {
        let device = Device::open(function)?;
        device.set_master()?;
        let memory = device.region(BAR_MEMORY)?;
        let len = usize::try_from(memory.size)
            .map_err(|_| Error::Argument(format!("{} bytes do not fit here", memory.size)))?;
        let mapping = Mapping::of(&device.file, memory.offset, len, Access::ReadWrite)?;
        let vectors_offered = device.vectors()?;
        let eventfds = device.arm(vectors_offered.min(MAX_VECTORS as u32))?;
        let info = Info {
            abi_version: 0,
            doorbell: vectors_offered > 0,
            peer_id_overridden: false,
            registers_mappable: false,
            size: memory.size,
            peer_id: device.load(regs::IV_POSITION)?,
            // CAST: At most 64.
            vectors: eventfds.len() as u32,
            vectors_offered,
            revision: 0,
            subsystem_vendor: function.subsystem.0,
            subsystem_device: function.subsystem.1,
            cache: Cache::Uncached,
            page_size: page_size() as u64,
            generation: 0,
            bus_id: function.bus_id.clone(),
        };
        Ok(Self {
            mapping: mapping.with_weak_order(true),
            eventfds,
            info,
            device,
        })
    }

    /// What is known of the device. There is no driver to tell, so `abi_version`, `revision` and `generation` are 0.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The memory.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    fn all(&self) -> u64 {
        match self.eventfds.len() {
            0 => 0,
            vectors => u64::MAX >> (64 - vectors),
        }
    }

    fn of(&self, mask: u64) -> impl Iterator<Item = (usize, &OwnedFd)> {
        let eventfds = self.eventfds.iter().enumerate();
        eventfds.filter(move |(vector, _)| mask & (1 << vector) != 0)
    }

    /// Those of `mask` that were rung, whose rings are forgotten.
    fn take(&self, mask: u64) -> Result<u64> {
        let mut taken = 0;
        for (vector, eventfd) in self.of(mask) {
            match rustix::io::read(eventfd, &mut [0; 8]) {
                Ok(_) => taken |= 1 << vector,
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(Error::io(error, "cannot read an eventfd")),
            }
        }
        Ok(taken)
    }

    /// Sleeps until one of `mask` is rung, for `limit` at the most.
    fn sleep(&self, mask: u64, limit: Duration) -> Result<()> {
        let mut fds: Vec<_> = self
            .of(mask)
            .map(|(_, eventfd)| PollFd::new(eventfd, PollFlags::IN))
            .collect();
        let limit = Timespec::try_from(limit).ok();
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) => Ok(()),
            Err(Errno::INTR) => Err(Error::Interrupted),
            Err(error) => Err(Error::io(error, "cannot poll eventfds")),
        }
    }

    /// Asks `done` before each sleep; `None` if the time is over.
    fn until<T>(
        &self,
        mask: u64,
        timeout: Option<Duration>,
        mut done: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let begin = Instant::now();
        loop {
            if let Some(found) = done()? {
                return Ok(Some(found));
            }
            let left = timeout.map_or(LONGEST_SLEEP, |limit| limit.saturating_sub(begin.elapsed()));
            if left.is_zero() {
                return Ok(None);
            }
            self.sleep(mask, left.min(LONGEST_SLEEP))?;
        }
    }
}

impl Device {
    fn open(function: &Function) -> Result<Self> {
        let container = open(Path::new("/dev/vfio/vfio"))?;
        let (group, iommu) = group(function)?;
        let group = open(&group)?;
        // SAFETY: The command reads one descriptor.
        unsafe { command::set_container(group.as_raw_fd(), &container.as_raw_fd()) }.map_err(
            failed("vfio does not take the device's group: all devices of it need vfio-pci"),
        )?;
        // CAST: 3 or 8. SAFETY: The command takes a number.
        unsafe { command::set_iommu(container.as_raw_fd(), iommu as i32) }
            .map_err(failed("vfio has no use for the IOMMU"))?;
        let name = CString::new(function.bus_id.as_str())
            .map_err(|_| Error::Argument("a PCI address has no NUL".into()))?;
        // SAFETY: The command reads a string that ends with NUL.
        let file = unsafe { command::get_device(group.as_raw_fd(), name.as_ptr()) }
            .map_err(failed("vfio does not give the device"))?;
        // SAFETY: The command has made this descriptor for us.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(file) });
        let mut device = Self {
            file,
            registers: 0,
            _group: group,
            _container: container,
        };
        device.registers = device.region(BAR_REGISTERS)?.offset;
        Ok(device)
    }

    fn region(&self, index: u32) -> Result<vfio_region_info> {
        let mut info = vfio_region_info {
            argsz: size_of::<vfio_region_info>() as u32,
            index,
            ..Default::default()
        };
        // SAFETY: The command reads and writes as much as `argsz` says, which is the structure.
        unsafe { command::region_info(self.file.as_raw_fd(), &mut info) }
            .map_err(failed("vfio does not describe a part of the device"))?;
        Ok(info)
    }

    fn vectors(&self) -> Result<u32> {
        let mut info = vfio_irq_info {
            argsz: size_of::<vfio_irq_info>() as u32,
            index: VFIO_PCI_MSIX_IRQ_INDEX,
            ..Default::default()
        };
        // SAFETY: The command reads and writes as much as `argsz` says, which is the structure.
        unsafe { command::irq_info(self.file.as_raw_fd(), &mut info) }
            .map_err(failed("vfio does not describe the interrupts"))?;
        Ok(info.count)
    }

    /// Lets the device send its interrupts, which are writes to memory, and decode accesses to its own.
    fn set_master(&self) -> Result<()> {
        const COMMAND: u64 = 4;
        const MEMORY_AND_MASTER: u16 = 0b110;
        let at = self.region(VFIO_PCI_CONFIG_REGION_INDEX)?.offset + COMMAND;
        let mut bytes = [0; 2];
        self.file
            .read_exact_at(&mut bytes, at)
            .and_then(|()| {
                let command = u16::from_le_bytes(bytes) | MEMORY_AND_MASTER;
                self.file.write_all_at(&command.to_le_bytes(), at)
            })
            .map_err(|error| Error::io(error, "cannot enable the device"))
    }

    /// An eventfd for each of so many vectors.
    fn arm(&self, vectors: u32) -> Result<Vec<OwnedFd>> {
        let new = |_| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let eventfds: Vec<_> = (0..vectors)
            .map(new)
            .collect::<rustix::io::Result<_>>()
            .map_err(|error| Error::io(error, "cannot make an eventfd"))?;
        if eventfds.is_empty() {
            return Ok(eventfds);
        }
        // `struct vfio_irq_set`, which ends with the descriptors.
        let mut set = vec![0, EACH_AN_EVENTFD, VFIO_PCI_MSIX_IRQ_INDEX, 0, vectors];
        // CAST: A descriptor that is open is not negative.
        set.extend(eventfds.iter().map(|fd| fd.as_raw_fd() as u32));
        // CAST: At most 69 words.
        set[0] = size_of_val(&set[..]) as u32;
        // SAFETY: The command reads as much as its first word says, which is `set`. It takes references of its own.
        unsafe { command::set_irqs(self.file.as_raw_fd(), set.as_ptr()) }
            .map_err(failed("vfio does not arm the interrupts"))?;
        Ok(eventfds)
    }

    fn load(&self, register: usize) -> Result<u32> {
        let mut bytes = [0; 4];
        self.file
            .read_exact_at(&mut bytes, self.registers + register as u64)
            .map_err(|error| Error::io(error, "cannot read a register"))?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn store(&self, register: usize, value: u32) -> Result<()> {
        self.file
            .write_all_at(&value.to_le_bytes(), self.registers + register as u64)
            .map_err(|error| Error::io(error, "cannot write a register"))
    }
}

/// The device's group, and the kind of IOMMU that vfio has for it.
fn group(function: &Function) -> Result<(PathBuf, u32)> {
    let link = function.directory.join("iommu_group");
    let number = fs::read_link(&link).ok();
    let number = number
        .as_deref()
        .and_then(|path| path.file_name()?.to_str());
    let number = number.ok_or(Error::NoNode(link))?;
    let group = Path::new("/dev/vfio").join(number);
    let without = Path::new("/dev/vfio").join(format!("noiommu-{number}"));
    Ok(match without.exists() {
        true => (without, VFIO_NOIOMMU_IOMMU),
        false => (group, VFIO_TYPE1v2_IOMMU),
    })
}

fn open(path: &Path) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, rustix::fs::Mode::empty())
        .map(File::from)
        .map_err(|errno| Error::open(path.into(), errno))
}

fn failed(what: &'static str) -> impl FnOnce(nix::errno::Errno) -> Error {
    move |errno| Error::io(io::Error::from(errno), what)
}

impl Doorbell for VfioEndpoint {
    fn peer_id(&self) -> u32 {
        self.info.peer_id
    }

    fn vectors(&self) -> u32 {
        self.info.vectors
    }

    fn ring(&self, peer: u32, vector: u32) -> Result<()> {
        let doorbell = regs::Doorbell::new(peer, vector)
            .ok_or_else(|| Error::Argument(format!("vector {vector} of peer {peer} cannot be")))?;
        if !self.info.doorbell {
            return Err(Error::NoDoorbell);
        }
        // What this thread wrote to the memory comes first.
        fence(Ordering::SeqCst);
        self.device.store(regs::DOORBELL, doorbell.bits())
    }

    fn is_gone(&self) -> bool {
        self.device
            .load(regs::IV_POSITION)
            .map_or(true, |id| id == u32::MAX)
    }
}

impl Waiter for VfioEndpoint {
    fn wait(&self, vectors: u64, timeout: Option<Duration>) -> Result<u64> {
        if self.eventfds.is_empty() {
            return Err(Error::NoDoorbell);
        }
        let mask = if vectors == 0 { self.all() } else { vectors };
        if mask & !self.all() != 0 {
            let text = format!("not every vector of the mask {mask:#x} is armed");
            return Err(Error::Argument(text));
        }
        let rung = self.until(mask, timeout, || match self.take(mask)? {
            0 if self.is_gone() => Err(Error::Gone),
            0 => Ok(None),
            taken => Ok(Some(taken)),
        })?;
        Ok(rung.unwrap_or(0))
    }

    fn wait_word(&self, offset: u64, value: u32, timeout: Option<Duration>) -> Result<bool> {
        let changed = self.until(self.all(), timeout, || {
            // Before the word: a ring after it is a reason to look again.
            self.take(self.all())?;
            match self.mapping.load32(offset, Ordering::Relaxed)? != value {
                true => Ok(Some(())),
                false if self.is_gone() => Err(Error::Gone),
                false => Ok(None),
            }
        })?;
        Ok(changed.is_some())
    }
}

forward_memory!({} VfioEndpoint, VfioEndpoint::mapping);
