// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A device by whatever way this system has to it.

use std::fmt;
use std::time::Duration;

use crate::{
    forward_memory, Bell, Doorbell, Endpoint, Function, Info, Link, Locking, ResourceEndpoint,
    Result, Sysfs, VfioEndpoint, Waiter,
};

/// A guest's end by the best way that there is: the driver `ivshmem_rs` if it is bound, else what a stock kernel has.
///
/// What is built on [`Link`] runs by each of them, only slower.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyEndpoint {
    /// Through the driver.
    Driver(Endpoint),
    /// Through vfio-pci.
    Vfio(VfioEndpoint),
    /// Through files of sysfs.
    Resource(ResourceEndpoint),
}

/// How a device is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Way {
    /// Through the driver: everything.
    Driver,
    /// Through vfio-pci: see [`VfioEndpoint`].
    Vfio,
    /// Through files of sysfs: see [`ResourceEndpoint`].
    Resource,
}

impl fmt::Display for Way {
    /// What it is, and what it costs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Driver => "the driver ivshmem_rs",
            Self::Vfio => "vfio-pci: the memory is not cached, and no other program has the device",
            Self::Resource => {
                "the files of sysfs: the memory is not cached, and looked at again and again, as nothing interrupts"
            }
        })
    }
}

impl AnyEndpoint {
    /// Opens the device at this PCI address, such as `0000:00:04.0` or `00:04.0`.
    ///
    /// # Errors
    ///
    /// Those of [`Sysfs::find`], [`Endpoint::open`], [`VfioEndpoint::open`] and [`ResourceEndpoint::open`].
    pub fn open(address: &str) -> Result<Self> {
        Self::of(&Sysfs::default().find(address)?)
    }

    /// Opens this device.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn of(function: &Function) -> Result<Self> {
        match (function.node(), function.driver.as_deref()) {
            (Some(node), _) => Endpoint::open(node).map(Self::Driver),
            (None, Some("vfio-pci")) => VfioEndpoint::open(function).map(Self::Vfio),
            (None, _) => ResourceEndpoint::open(function).map(Self::Resource),
        }
    }

    /// Where nothing interrupts, looks at what is waited for in each `interval`, instead of in each millisecond. Zero is no
    /// pause, and keeps a processor busy.
    #[must_use]
    pub fn with_interval(self, interval: Duration) -> Self {
        match self {
            Self::Driver(end) => Self::Driver(end.with_interval(interval)),
            Self::Vfio(end) => Self::Vfio(end.with_interval(interval)),
            Self::Resource(end) => Self::Resource(end.with_interval(interval)),
        }
    }

    /// How the device is reached.
    pub fn way(&self) -> Way {
        match self {
            Self::Driver(_) => Way::Driver,
            Self::Vfio(_) => Way::Vfio,
            Self::Resource(_) => Way::Resource,
        }
    }

    /// What is known of the device.
    pub fn info(&self) -> &Info {
        match self {
            Self::Driver(end) => end.info(),
            Self::Vfio(end) => end.info(),
            Self::Resource(end) => end.info(),
        }
    }

    fn link(&self) -> &dyn Link {
        match self {
            Self::Driver(end) => end,
            Self::Vfio(end) => end,
            Self::Resource(end) => end,
        }
    }
}

impl Doorbell for AnyEndpoint {
    fn peer_id(&self) -> u32 {
        self.link().peer_id()
    }

    fn vectors(&self) -> u32 {
        self.link().vectors()
    }

    fn ring(&self, peer: u32, vector: u32) -> Result<()> {
        self.link().ring(peer, vector)
    }

    fn lock(&self, number: u64) -> Locking {
        self.link().lock(number)
    }

    fn is_gone(&self) -> bool {
        self.link().is_gone()
    }
}

impl Waiter for AnyEndpoint {
    fn wait(&self, vectors: u64, timeout: Option<Duration>) -> Result<u64> {
        self.link().wait(vectors, timeout)
    }

    fn wait_word(&self, offset: u64, value: u32, timeout: Option<Duration>) -> Result<bool> {
        self.link().wait_word(offset, value, timeout)
    }

    fn bell(&self, vector: u32) -> Result<Bell> {
        self.link().bell(vector)
    }

    fn interval(&self) -> Duration {
        self.link().interval()
    }
}

forward_memory!({} AnyEndpoint, AnyEndpoint::link);
