// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A device together with all of its memory.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{eventfd, EventfdFlags};

use crate::{
    forward_memory, poll_word, Access, Bell, Device, Doorbell, Error, Info, Locking, Mapping,
    Result, Waiter, POLL_INTERVAL,
};

/// A guest's end: an open device and its memory, mapped whole.
///
/// On a device without a doorbell [`Waiter::wait_word`] looks at the word once in a millisecond, unless
/// [`with_interval`](Self::with_interval) says otherwise, and all else that needs a doorbell gives [`Error::NoDoorbell`].
#[derive(Debug)]
pub struct Endpoint {
    device: Device,
    mapping: Mapping,
    info: Info,
    interval: Duration,
    /// Of each vector that has bells: what the driver adds to.
    eventfds: Mutex<BTreeMap<u32, Arc<OwnedFd>>>,
}

impl Endpoint {
    /// Opens a node for reading and writing, and maps its memory.
    ///
    /// # Errors
    ///
    /// Those of [`Device::open`] and [`Device::map`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::of(Device::open(path)?)
    }

    /// Maps the memory of a device that is open for reading and writing.
    ///
    /// # Errors
    ///
    /// Those of [`Device::map`].
    pub fn of(device: Device) -> Result<Self> {
        Ok(Self {
            mapping: device.map(Access::ReadWrite)?,
            info: device.info()?,
            device,
            interval: POLL_INTERVAL,
            eventfds: Mutex::default(),
        })
    }

    /// Looks at what is waited for in each `interval`, instead of in each millisecond, on a device without a doorbell. Zero is no
    /// pause, and keeps a processor busy.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What the driver said of the device when it was opened.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The memory.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }
}

impl Doorbell for Endpoint {
    /// The driver's word of now: a guest that was resumed or restored can have another ID.
    fn peer_id(&self) -> u32 {
        let now = self.device.info();
        now.map_or(self.info.peer_id, |info| info.peer_id)
    }

    fn vectors(&self) -> u32 {
        self.info.vectors
    }

    fn ring(&self, peer: u32, vector: u32) -> Result<()> {
        self.device.ring(peer, vector)
    }

    fn lock(&self, number: u64) -> Locking {
        Locking::of(&self.device, number)
    }

    fn is_gone(&self) -> bool {
        matches!(self.device.info(), Err(Error::Gone))
    }
}

impl Waiter for Endpoint {
    fn wait(&self, vectors: u64, timeout: Option<Duration>) -> Result<u64> {
        self.device.wait(vectors, timeout)
    }

    fn wait_word(&self, offset: u64, value: u32, timeout: Option<Duration>) -> Result<bool> {
        match self.device.wait_word(offset, value, timeout) {
            Err(Error::NoDoorbell) => {
                poll_word(&self.mapping, offset, value, timeout, self.interval, || {
                    // Touching the memory of a device that is gone would kill us; this tells in time, mostly.
                    self.device.info().map(drop)
                })
            }
            other => other,
        }
    }

    /// Takes the place of the vector's eventfd in [`device`](Endpoint::device).
    fn bell(&self, vector: u32) -> Result<Bell> {
        // Each change leaves it whole.
        let eventfds = self.eventfds.lock();
        let mut eventfds = eventfds.unwrap_or_else(PoisonError::into_inner);
        if let Some(eventfd) = eventfds.get(&vector) {
            return Bell::of(Arc::clone(eventfd));
        }
        let new = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let new = new.map_err(|error| Error::io(error, "cannot make an eventfd"))?;
        self.device.set_eventfd(vector, Some(new.as_fd()))?;
        let new = Arc::new(new);
        eventfds.insert(vector, Arc::clone(&new));
        Bell::of(new)
    }

    fn interval(&self) -> Duration {
        self.interval
    }
}

forward_memory!({} Endpoint, Endpoint::mapping);
