// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A device that vfio-pci has: the one stock driver that hands out its interrupts.

mod device;

use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ivshmem_abi::pci::MAX_VECTORS;
use ivshmem_abi::regs;
use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::param::page_size;

use crate::{
    forward_memory, Bell, Cache, Doorbell, Error, Function, Info, Mapping, Memory, Result, Waiter,
    POLL_INTERVAL,
};
use device::Device;

/// What a register of a device reads that is gone.
const GONE: u32 = u32::MAX;

/// What two threads that wait at once can cost each other: one takes a ring, and the other looks again after this.
const LONGEST_SLEEP: Duration = Duration::from_millis(10);

/// A guest's end by vfio-pci: with interrupts, and memory that is not cached.
///
/// It needs an IOMMU in the guest, or the kernel's no-IOMMU mode, and the right to `/dev/vfio`. One program at a time
/// has the device. The host's unplug waits until that one lets go; the end tells it, as [`Error::Gone`], once the host has
/// asked.
#[derive(Debug)]
pub struct VfioEndpoint {
    mapping: Mapping,
    /// Of each vector, what its interrupts add to.
    eventfds: Vec<Arc<OwnedFd>>,
    /// Of each vector, what has not been waited for.
    rung: Vec<Bell>,
    /// What the kernel adds to when it wants the device back.
    request: Arc<OwnedFd>,
    info: Info,
    interval: Duration,
    device: Device,
}

impl VfioEndpoint {
    /// Opens a device that is bound to vfio-pci.
    ///
    /// It has fewer vectors than the device if the kernel has no more interrupts.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if it has no group of an IOMMU, another program has it, or the user may not; [`Error::NoMemory`];
    /// [`Error::Io`].
    pub fn open(function: &Function) -> Result<Self> {
        let device = Device::open(function)?;
        let mapping = device.map(function)?;
        let vectors_offered = device.vectors()?;
        let wanted = vectors_offered.min(MAX_VECTORS as u32);
        let mut eventfds: Vec<_> = (0..wanted).map(|_| counter()).collect::<Result<_>>()?;
        eventfds.truncate(device.arm(&eventfds)?);
        let request = counter()?;
        device.hear_request(&request)?;
        let rung = eventfds.iter().map(|eventfd| Bell::of(Arc::clone(eventfd)));
        let info = Info {
            abi_version: 0,
            doorbell: vectors_offered > 0,
            peer_id_overridden: false,
            registers_mappable: false,
            size: mapping.size(),
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
            mapping,
            rung: rung.collect::<Result<_>>()?,
            eventfds,
            request,
            info,
            interval: POLL_INTERVAL,
            device,
        })
    }

    /// Looks at what is waited for in each `interval`, instead of in each millisecond, where there are no vectors. Zero is no
    /// pause, and keeps a processor busy.
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

    fn all(&self) -> u64 {
        match self.rung.len() {
            0 => 0,
            vectors => u64::MAX >> (64 - vectors),
        }
    }

    fn of(&self, mask: u64) -> impl Iterator<Item = (usize, &Bell)> {
        let bells = self.rung.iter().enumerate();
        bells.filter(move |(vector, _)| mask & (1 << vector) != 0)
    }

    /// Those of `mask` that were rung, whose rings are forgotten.
    fn take(&self, mask: u64) -> Result<u64> {
        let mut taken = 0;
        for (vector, bell) in self.of(mask) {
            taken |= u64::from(bell.take()?) << vector;
        }
        Ok(taken)
    }

    /// Sleeps until one of `mask` is rung or the device is to be let go, for `limit` at the most.
    fn sleep(&self, mask: u64, limit: Duration) -> Result<()> {
        let bells = self
            .of(mask)
            .map(|(_, bell)| PollFd::new(bell, PollFlags::IN));
        let request = PollFd::new(&*self.request, PollFlags::IN);
        let mut fds: Vec<_> = bells.chain([request]).collect();
        let limit = Timespec::try_from(limit).ok();
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) => Ok(()),
            Err(Errno::INTR) => Err(Error::Interrupted),
            Err(error) => Err(Error::io(error, "cannot poll eventfds")),
        }
    }

    /// Whether the kernel wants the device back. It stays so.
    fn is_wanted_back(&self) -> bool {
        let mut fds = [PollFd::new(&*self.request, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Asks `done` before each sleep, which ends once one of `mask` is rung; `None` if the time is over.
    fn until<T>(
        &self,
        mask: u64,
        timeout: Option<Duration>,
        done: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let longest = match self.rung.is_empty() {
            true => self.interval,
            false => LONGEST_SLEEP,
        };
        until(timeout, longest, done, |limit| self.sleep(mask, limit))
    }
}

/// Asks `done` before each `sleep`, which is for `longest` at the most; `None` if the time is over.
fn until<T>(
    timeout: Option<Duration>,
    longest: Duration,
    mut done: impl FnMut() -> Result<Option<T>>,
    sleep: impl Fn(Duration) -> Result<()>,
) -> Result<Option<T>> {
    let begin = Instant::now();
    loop {
        if let Some(found) = done()? {
            return Ok(Some(found));
        }
        let left = timeout.map(|limit| limit.saturating_sub(begin.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
        sleep(left.map_or(longest, |left| left.min(longest)))?;
    }
}

fn counter() -> Result<Arc<OwnedFd>> {
    let new = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
    new.map(Arc::new)
        .map_err(|error| Error::io(error, "cannot make an eventfd"))
}

impl Doorbell for VfioEndpoint {
    /// The device's word of now: a guest that was restored can have another ID.
    fn peer_id(&self) -> u32 {
        let now = self.device.load(regs::IV_POSITION);
        now.ok()
            .filter(|id| *id != GONE)
            .unwrap_or(self.info.peer_id)
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
        self.mapping.fence();
        self.device.store(regs::DOORBELL, doorbell.bits())
    }

    fn is_gone(&self) -> bool {
        self.is_wanted_back()
            || self
                .device
                .load(regs::IV_POSITION)
                .map_or(true, |id| id == GONE)
    }
}

impl Waiter for VfioEndpoint {
    fn wait(&self, vectors: u64, timeout: Option<Duration>) -> Result<u64> {
        if self.rung.is_empty() {
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

    fn bell(&self, vector: u32) -> Result<Bell> {
        if self.eventfds.is_empty() {
            return Err(Error::NoDoorbell);
        }
        let eventfd = usize::try_from(vector).ok();
        let eventfd = eventfd.and_then(|vector| self.eventfds.get(vector));
        let eventfd =
            eventfd.ok_or_else(|| Error::Argument(format!("vector {vector} is not armed")))?;
        Bell::of(Arc::clone(eventfd))?.or(Arc::clone(&self.request))
    }

    fn interval(&self) -> Duration {
        self.interval
    }
}

forward_memory!({} VfioEndpoint, VfioEndpoint::mapping);

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it is looked until the third time, and what is found.
    fn looks(timeout: Option<Duration>, longest: Duration) -> (u32, Option<()>) {
        let mut looks = 0;
        let look = || {
            looks += 1;
            Ok((looks == 3).then_some(()))
        };
        let found = until(timeout, longest, look, |limit| {
            assert!(limit <= longest);
            Ok(())
        });
        (looks, found.unwrap())
    }

    #[test]
    fn a_pause_of_zero_is_no_end() {
        let (ever, hour) = (None, Some(Duration::from_secs(3600)));
        for longest in [Duration::ZERO, LONGEST_SLEEP, Duration::MAX] {
            assert_eq!(looks(ever, longest), (3, Some(())), "{longest:?}");
            assert_eq!(looks(hour, longest), (3, Some(())), "{longest:?}");
            assert_eq!(looks(Some(Duration::ZERO), longest), (1, None));
        }
    }
}
