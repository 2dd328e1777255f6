// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The commands of vfio.
#![allow(unsafe_code)] // They have no safe interface.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ivshmem_abi::pci::{BAR_MEMORY, BAR_REGISTERS};
use nix::errno::Errno;
use rustix::fs::OFlags;
use vfio_bindings::bindings::vfio::{
    vfio_irq_info, vfio_region_info, VFIO_TYPE1v2_IOMMU, VFIO_IRQ_SET_ACTION_TRIGGER,
    VFIO_IRQ_SET_DATA_EVENTFD, VFIO_NOIOMMU_IOMMU, VFIO_PCI_CONFIG_REGION_INDEX,
    VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_REQ_IRQ_INDEX, VFIO_REGION_INFO_FLAG_MMAP,
};

use crate::{Access, Error, Function, Mapping, Result};

/// An interrupt adds to its vector's eventfd.
const EACH_AN_EVENTFD: u32 = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;

/// Where vfio's files are.
const DIRECTORY: &str = "/dev/vfio";

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

/// An open device, and what keeps it so.
#[derive(Debug)]
pub struct Device {
    file: File,
    /// Where the registers are in the file.
    registers: u64,
    _group: File,
    _container: File,
}

impl Device {
    /// Opens a device that is bound to vfio-pci, and lets it send its interrupts.
    pub fn open(function: &Function) -> Result<Self> {
        let (group, iommu) = group(function)?;
        let container = open(&Path::new(DIRECTORY).join("vfio"))?;
        let group = open(&group)?;
        // SAFETY: The command reads one descriptor.
        unsafe { command::set_container(group.as_raw_fd(), &container.as_raw_fd()) }
            .map_err(failed(
            "vfio does not take the device's group: all devices of it need vfio-pci, or no driver",
        ))?;
        // CAST: 3 or 8. SAFETY: The command takes a number.
        unsafe { command::set_iommu(container.as_raw_fd(), iommu as i32) }.map_err(failed(
            "vfio has no use for the IOMMU: modprobe vfio_iommu_type1, and dmesg says more",
        ))?;
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
        device.set_master()?;
        Ok(device)
    }

    /// The memory, and its size.
    pub fn map(&self, function: &Function) -> Result<Mapping> {
        let memory = self.region(BAR_MEMORY)?;
        if memory.size == 0 || memory.flags & VFIO_REGION_INFO_FLAG_MMAP == 0 {
            return Err(Error::NoMemory(function.bus_id.clone()));
        }
        let len = usize::try_from(memory.size)
            .map_err(|_| Error::Argument(format!("{} bytes do not fit here", memory.size)))?;
        let mapping = Mapping::of(&self.file, memory.offset, len, Access::ReadWrite);
        Ok(mapping.map_err(Error::or_gone)?.with_weak_order(true))
    }

    /// Vectors in the device's MSI-X table.
    pub fn vectors(&self) -> Result<u32> {
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

    /// Has each vector add to one of `eventfds`, from the first on, for as many as the kernel has interrupts for. Returns
    /// how many these are.
    pub fn arm(&self, eventfds: &[impl AsRawFd]) -> Result<usize> {
        let eventfds: Vec<_> = eventfds.iter().map(AsRawFd::as_raw_fd).collect();
        most_of(eventfds.len(), |count| {
            self.set_irqs(VFIO_PCI_MSIX_IRQ_INDEX, &eventfds[..count])
        })
        .map_err(failed("vfio does not arm the interrupts"))
    }

    /// Has the kernel add to `eventfd` when it wants the device back: removal waits for that.
    pub fn hear_request(&self, eventfd: &impl AsRawFd) -> Result<()> {
        self.set_irqs(VFIO_PCI_REQ_IRQ_INDEX, &[eventfd.as_raw_fd()])
            .map(drop)
            .map_err(failed("vfio does not tell of removal"))
    }

    /// Returns what the command does.
    fn set_irqs(&self, index: u32, eventfds: &[RawFd]) -> nix::Result<i32> {
        // `struct vfio_irq_set`, which ends with the descriptors. CAST: They are few.
        let mut set = vec![0, EACH_AN_EVENTFD, index, 0, eventfds.len() as u32];
        // CAST: A descriptor that is open is not negative.
        set.extend(eventfds.iter().map(|fd| *fd as u32));
        // CAST: At most 69 words.
        set[0] = size_of_val(&set[..]) as u32;
        // SAFETY: The command reads as much as its first word says, which is `set`. It takes references of its own.
        unsafe { command::set_irqs(self.file.as_raw_fd(), set.as_ptr()) }
    }

    pub fn load(&self, register: usize) -> Result<u32> {
        let mut bytes = [0; 4];
        self.file
            .read_exact_at(&mut bytes, self.registers + register as u64)
            .map_err(|error| Error::io(error, "cannot read a register"))?;
        Ok(u32::from_le_bytes(bytes))
    }

    pub fn store(&self, register: usize, value: u32) -> Result<()> {
        self.file
            .write_all_at(&value.to_le_bytes(), self.registers + register as u64)
            .map_err(|error| Error::io(error, "cannot write a register"))
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

    /// Lets the device send its interrupts, which are writes to memory, and decode accesses to its own. vfio takes both
    /// back when the device is closed.
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
}

/// Arms as many vectors as there can be, `all` at the most, and returns how many. `arm` takes a number of them, and returns
/// what the kernel does.
fn most_of(all: usize, mut arm: impl FnMut(usize) -> nix::Result<i32>) -> nix::Result<usize> {
    let mut count = all;
    while count > 0 {
        match arm(count) {
            Ok(0) => return Ok(count),
            // There are so many, and none was armed.
            Ok(fewer) => count = usize::try_from(fewer).unwrap_or(0).min(count - 1),
            Err(Errno::ENOSPC) => count /= 2,
            Err(error) => return Err(error),
        }
    }
    Ok(0)
}

/// The device's group, and the kind of IOMMU that vfio has for it.
fn group(function: &Function) -> Result<(PathBuf, u32)> {
    let link = function.directory.join("iommu_group");
    let number = fs::read_link(&link).map_err(|source| Error::Refused {
        path: link,
        advice: "vfio needs an IOMMU, or its no-IOMMU mode: see Documentation/library.rst, \"Without the driver\"",
        source,
    })?;
    let number = number.file_name().unwrap_or_default().to_string_lossy();
    let directory = Path::new(DIRECTORY);
    let without = directory.join(format!("noiommu-{number}"));
    Ok(match without.exists() {
        true => (without, VFIO_NOIOMMU_IOMMU),
        false => (directory.join(&*number), VFIO_TYPE1v2_IOMMU),
    })
}

fn open(path: &Path) -> Result<File> {
    use rustix::io::Errno;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, rustix::fs::Mode::empty());
    opened.map(File::from).map_err(|errno| {
        let advice = match errno {
            Errno::NOENT => "modprobe vfio-pci; in a container, hand in /dev/vfio",
            Errno::ACCESS => "root can give it to a user or a group, by chown or a udev rule",
            Errno::PERM => "without an IOMMU it needs root",
            Errno::BUSY => {
                "vfio gives a device to one program at a time: end the one that has it (fuser)"
            }
            _ => "cannot be opened",
        };
        Error::Refused {
            path: path.into(),
            advice,
            source: errno.into(),
        }
    })
}

fn failed(what: &'static str) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::io(io::Error::from(errno), what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are armed, and what was tried, where the kernel has `there` interrupts, and says so as `refusal` does.
    fn armed(
        all: usize,
        there: usize,
        refusal: impl Fn() -> nix::Result<i32>,
    ) -> (nix::Result<usize>, Vec<usize>) {
        let mut tried = Vec::new();
        let most = most_of(all, |count| {
            tried.push(count);
            match count <= there {
                true => Ok(0),
                false => refusal(),
            }
        });
        (most, tried)
    }

    #[test]
    fn as_many_vectors_are_armed_as_there_are_interrupts() {
        let refuses = || panic!("there are enough");
        assert_eq!(armed(0, 0, refuses), (Ok(0), vec![]));
        assert_eq!(armed(64, 64, refuses), (Ok(64), vec![64]));
        // A number that is not negative is no success: it says how many there are.
        assert_eq!(armed(64, 5, || Ok(5)), (Ok(5), vec![64, 5]));
        assert_eq!(armed(2, 0, || Ok(9)), (Ok(0), vec![2, 1]));
        let none = || Err(Errno::ENOSPC);
        assert_eq!(armed(64, 20, none), (Ok(16), vec![64, 32, 16]));
        assert_eq!(armed(1, 0, none), (Ok(0), vec![1]));
        let (other, _) = armed(8, 0, || Err(Errno::EINVAL));
        assert_eq!(other, Err(Errno::EINVAL));
    }
}
