// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What can go wrong with a device, and what to do about it.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::AccessError;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. Each message ends with what helps, where there is something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such node.
    #[error("{0} does not exist: is the driver loaded (modprobe ivshmem_rs) and a device there (lspci -d 1af4:1110)?")]
    NoNode(PathBuf),
    /// There is no such device.
    #[error("there is no ivshmem device at {0}: see lspci -d 1af4:1110")]
    NoDevice(String),
    /// The node may not be opened.
    #[error(
        "{0}: permission denied: join the group that owns the node, or add a udev rule for it"
    )]
    Permission(PathBuf),
    /// The node cannot be opened for another reason.
    #[error("cannot open {path}")]
    Open {
        /// The node.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file is not a node of this driver, or of a version that this library does not know.
    #[error("{0} is no node of the driver ivshmem_rs with interface version {version}", version = ivshmem_abi::ioctl::ABI_VERSION)]
    NotIvshmem(PathBuf),
    /// The device was unplugged or its driver unbound; open handles are of no use any more.
    #[error("the device is gone: close it, and open its new node when it is back")]
    Gone,
    /// The device cannot interrupt: QEMU's `ivshmem-plain`, ACRN's dm-land. Or the kernel gave it no vectors, so that
    /// nobody can wait.
    #[error("the device has no doorbell, or no interrupt vectors (see dmesg): use ivshmem-doorbell instead of ivshmem-plain, or poll the memory")]
    NoDoorbell,
    /// This way to the device has no interrupts: nothing can be waited for but a word of the memory.
    #[error("by sysfs there are no interrupts: wait for a word of the memory, or bind vfio-pci or ivshmem_rs")]
    NoInterrupts,
    /// The device's memory is another's.
    #[error("{bus_id}: the kernel keeps the memory for the driver {driver}: unbind it, or use what it offers")]
    Claimed {
        /// PCI address.
        bus_id: String,
        /// The driver that is bound.
        driver: String,
    },
    /// The device has no memory: it has no such BAR, or that has no address.
    #[error("{0}: the device has no memory: if the kernel found no room for its BAR 2, dmesg | grep {0} says so")]
    NoMemory(String),
    /// The kernel does not hand out the device in this way.
    #[error("{path}: {advice}")]
    Refused {
        /// What could not be used.
        path: PathBuf,
        /// What it takes.
        advice: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// The handle was opened for reading only.
    #[error("the device is open for reading only: open it with Mode::ReadWrite")]
    ReadOnly,
    /// A signal came while the call slept.
    #[error("interrupted by a signal: call again")]
    Interrupted,
    /// Nothing is pending, and the handle does not block.
    #[error("no event is pending")]
    WouldBlock,
    /// An argument is out of its range.
    #[error("{0}")]
    Argument(String),
    /// An access to the shared memory that cannot be.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Another failure of a system call.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
}

impl Error {
    /// What an error number of the driver means. `what` is what was tried, for the numbers that have no
    /// meaning of their own.
    pub(crate) fn driver(errno: Errno, what: &'static str) -> Self {
        match errno {
            Errno::NODEV => Self::Gone,
            Errno::OPNOTSUPP => Self::NoDoorbell,
            Errno::BADF => Self::ReadOnly,
            Errno::INTR => Self::Interrupted,
            Errno::AGAIN => Self::WouldBlock,
            other => Self::io(other, what),
        }
    }

    pub(crate) fn open(path: PathBuf, errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::NoNode(path),
            Errno::ACCESS | Errno::PERM => Self::Permission(path),
            Errno::NODEV | Errno::NXIO => Self::Gone,
            other => Self::Open {
                path,
                source: other.into(),
            },
        }
    }

    /// What a failed `mmap` of a device means.
    pub(crate) fn or_gone(self) -> Self {
        match &self {
            Self::Io { source, .. } if Errno::from_io_error(source) == Some(Errno::NODEV) => {
                Self::Gone
            }
            _ => self,
        }
    }

    /// A failed system call. For implementations of [`Link`](crate::Link) elsewhere.
    pub fn io(source: impl Into<io::Error>, what: &'static str) -> Self {
        Self::Io {
            what,
            source: source.into(),
        }
    }
}
