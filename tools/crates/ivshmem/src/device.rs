// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! An open node of the driver.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ivshmem_abi::events::{Event, EventPage as EventPageLayout};
use ivshmem_abi::ioctl::{Ring, SetEventfd, Wait, ABI_VERSION, RING_MANY_MAX, WAIT_WORD};
use ivshmem_abi::mmap::Region;
use ivshmem_abi::pci::MAX_VECTORS;
use ivshmem_abi::regs::{MAX_PEER, MAX_RING_VECTOR};
use rustix::fs::OFlags;
use rustix::io::Errno;
use zerocopy::IntoBytes;

use crate::{ioctl, Access, Cache, Error, EventPage, Info, Mapping, Result};

/// What an open device may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Read, wait, map for reading. Ringing gives [`Error::ReadOnly`].
    ReadOnly,
    /// Everything.
    ReadWrite,
}

/// An open `/dev/ivshmemN`, until it is dropped.
///
/// It has its own view of the events: a vector is *pending* from a ring on until this handle takes it, and
/// no other opener can take it away. Opening arms it. Threads that share one handle share its events.
///
/// As a file it is ready for reading while an event is pending, so that [`AsFd`] is all that `poll`, `epoll`
/// and event loops need.
#[derive(Debug)]
pub struct Device {
    fd: OwnedFd,
    path: PathBuf,
}

impl Device {
    /// Opens a node for reading and writing.
    ///
    /// # Errors
    ///
    /// [`Error::NoNode`], [`Error::Permission`], [`Error::NotIvshmem`], [`Error::Gone`], [`Error::Open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, Mode::ReadWrite)
    }

    /// Opens `/dev/ivshmemN`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_number(number: u32) -> Result<Self> {
        Self::open(format!("/dev/ivshmem{number}"))
    }

    /// Opens a node for what `mode` says.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, mode: Mode) -> Result<Self> {
        let path = path.as_ref();
        let access = match mode {
            Mode::ReadOnly => OFlags::RDONLY,
            Mode::ReadWrite => OFlags::RDWR,
        };
        let fd = rustix::fs::open(path, access | OFlags::CLOEXEC, rustix::fs::Mode::empty())
            .map_err(|error| Error::open(path.into(), error))?;
        let device = Self {
            fd,
            path: path.into(),
        };
        // An unknown command or a wrong driver is told apart from a device that has just gone.
        match device.info() {
            Ok(info) if info.abi_version == ABI_VERSION => Ok(device),
            Err(Error::Gone) => Err(Error::Gone),
            _ => Err(Error::NotIvshmem(path.into())),
        }
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the driver says of the device. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`].
    pub fn info(&self) -> Result<Info> {
        ioctl::get_info(self.as_fd())
            .map(Info::from)
            .map_err(|error| Error::driver(error, "IVSHMEM_GET_INFO failed"))
    }

    /// Rings vector `vector` of peer `peer`; see [`Doorbell::ring`](crate::Doorbell::ring).
    ///
    /// # Errors
    ///
    /// [`Error::Argument`], [`Error::NoDoorbell`], [`Error::ReadOnly`], [`Error::Gone`].
    pub fn ring(&self, peer: u32, vector: u32) -> Result<()> {
        check_ring(peer, vector)?;
        ioctl::ring(self.as_fd(), Ring { peer, vector })
            .map_err(|error| Error::driver(error, "IVSHMEM_RING failed"))
    }

    /// Rings many doorbells, in their order, or none of them if one is out of range. Takes one system call
    /// for each [`RING_MANY_MAX`]. Does not block on any peer.
    ///
    /// # Errors
    ///
    /// As [`ring`](Self::ring). After [`Error::Gone`] some may have been rung.
    pub fn ring_many(&self, rings: &[Ring]) -> Result<()> {
        for ring in rings {
            check_ring(ring.peer, ring.vector)?;
        }
        for some in rings.chunks(RING_MANY_MAX as usize) {
            ioctl::ring_many(self.as_fd(), some)
                .map_err(|error| Error::driver(error, "IVSHMEM_RING_MANY failed"))?;
        }
        Ok(())
    }

    /// Subscribes this handle to the vectors of `mask`, bit n for vector n, instead of those so far. After
    /// opening these are all.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if a vector is not armed; [`Error::Gone`].
    pub fn subscribe(&self, mask: u64) -> Result<()> {
        ioctl::subscribe(self.as_fd(), mask)
            .map_err(|error| Self::mask_error(error, mask, "IVSHMEM_SUBSCRIBE failed"))
    }

    /// Waits until something is pending and takes it: one [`Event`] for each pending vector, lowest first.
    /// Blocks, unless [`set_nonblocking`](Self::set_nonblocking) was called.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`], [`Error::Interrupted`], [`Error::NoDoorbell`], [`Error::Gone`].
    pub fn read_events(&self) -> Result<Vec<Event>> {
        let mut events = [Event::default(); MAX_VECTORS];
        let bytes = rustix::io::read(&self.fd, events.as_mut_bytes())
            .map_err(|error| Error::driver(error, "cannot read events"))?;
        Ok(events[..bytes / size_of::<Event>()].to_vec())
    }

    /// Whether [`read_events`](Self::read_events) gives [`Error::WouldBlock`] instead of sleeping. Holds for
    /// all duplicates of this descriptor.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn set_nonblocking(&self, nonblocking: bool) -> Result<()> {
        let change = |flags: OFlags| match nonblocking {
            true => flags | OFlags::NONBLOCK,
            false => flags - OFlags::NONBLOCK,
        };
        rustix::fs::fcntl_getfl(&self.fd)
            .and_then(|flags| rustix::fs::fcntl_setfl(&self.fd, change(flags)))
            .map_err(|error| Error::io(error, "cannot change the file's flags"))
    }

    /// Sleeps until a vector of the mask `vectors` is pending; 0 stands for the subscription. Returns those
    /// that are and takes their events; 0 if the time is over. `None` waits for ever, and zero only looks.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if a vector is not armed; [`Error::Interrupted`], [`Error::NoDoorbell`],
    /// [`Error::Gone`].
    pub fn wait(&self, vectors: u64, timeout: Option<Duration>) -> Result<u64> {
        let mut wait = Wait {
            vectors,
            timeout_ns: nanoseconds(timeout),
            ..Default::default()
        };
        match ioctl::wait(self.as_fd(), &mut wait) {
            Ok(()) => Ok(wait.vectors),
            Err(Errno::TIMEDOUT) => Ok(0),
            Err(error) => Err(Self::mask_error(error, vectors, "IVSHMEM_WAIT failed")),
        }
    }

    /// Sleeps while the word at byte `offset` of the memory is `value`; see
    /// [`Waiter::wait_word`](crate::Waiter::wait_word). Events that came meanwhile are taken.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if the offset is outside of the memory or no multiple of 4;
    /// [`Error::Interrupted`], [`Error::NoDoorbell`], [`Error::Gone`].
    pub fn wait_word(&self, offset: u64, value: u32, timeout: Option<Duration>) -> Result<bool> {
        let mut wait = Wait {
            timeout_ns: nanoseconds(timeout),
            offset,
            value,
            flags: WAIT_WORD,
            ..Default::default()
        };
        match ioctl::wait(self.as_fd(), &mut wait) {
            Ok(()) => Ok(true),
            Err(Errno::TIMEDOUT) => Ok(false),
            Err(Errno::INVAL) => Err(Error::Argument(format!(
                "offset {offset} is not a multiple of 4 inside of the shared memory"
            ))),
            Err(error) => Err(Error::driver(error, "IVSHMEM_WAIT failed")),
        }
    }

    /// Has each interrupt of `vector` add 1 to `eventfd`, in place of what was bound before; `None` unbinds.
    /// The driver keeps a reference of its own until this handle is closed. If the vector is pending, the
    /// eventfd is signalled at once.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] if the vector is not armed or the descriptor is no eventfd; [`Error::Io`] with
    /// [`Error::NoDoorbell`], [`Error::Gone`].
    pub fn set_eventfd(&self, vector: u32, eventfd: Option<BorrowedFd<'_>>) -> Result<()> {
        let argument = SetEventfd {
            vector,
            fd: eventfd.map_or(-1, |fd| fd.as_raw_fd()),
            ..Default::default()
        };
        ioctl::set_eventfd(self.as_fd(), argument).map_err(|error| match error {
            Errno::INVAL => Error::Argument(format!(
                "vector {vector} is not armed, or the descriptor is no eventfd"
            )),
            other => Error::driver(other, "IVSHMEM_SET_EVENTFD failed"),
        })
    }

    /// Maps all of the shared memory.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`]; [`Error::Argument`] if it is larger than the address space; [`Error::Io`].
    pub fn map(&self, access: Access) -> Result<Mapping> {
        let info = self.info()?;
        let len = usize::try_from(info.size)
            .map_err(|_| Error::Argument(format!("{} bytes do not fit here", info.size)))?;
        self.map_part(0, len, access)
    }

    /// Maps `len` bytes of the shared memory from `offset` on, a multiple of the page size.
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map); [`Error::Argument`] if it is no part of the memory in whole pages.
    pub fn map_part(&self, offset: u64, len: usize, access: Access) -> Result<Mapping> {
        let info = self.info()?;
        let end = offset.checked_add(len as u64);
        if len == 0 || end.is_none_or(|end| end > info.size) {
            return Err(Error::Argument(format!(
                "{len} bytes from {offset} on are no part of the {} bytes of memory",
                info.size
            )));
        }
        let at = Region::Memory.file_offset(offset);
        let mapping = Mapping::of(&self.fd, at, len, access).map_err(Error::or_gone)?;
        Ok(mapping.with_weak_order(info.cache != Cache::WriteBack))
    }

    /// Maps the event page.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`], [`Error::Io`].
    pub fn event_page(&self) -> Result<EventPage> {
        let at = Region::Events.file_offset(0);
        let mapping = Mapping::of(&self.fd, at, size_of::<EventPageLayout>(), Access::ReadOnly);
        // The page is ordinary memory, but looks at it come before looks at memory that need not be.
        let weak = self.info()?.cache != Cache::WriteBack;
        Ok(EventPage::new(
            mapping.map_err(Error::or_gone)?.with_weak_order(weak),
        ))
    }

    fn mask_error(error: Errno, mask: u64, what: &'static str) -> Error {
        match error {
            Errno::INVAL => Error::Argument(format!(
                "not every vector of the mask {mask:#x} is armed: see the number of vectors in info()"
            )),
            other => Error::driver(other, what),
        }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Device {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<Device> for OwnedFd {
    fn from(device: Device) -> Self {
        device.fd
    }
}

fn check_ring(peer: u32, vector: u32) -> Result<()> {
    if peer > MAX_PEER {
        return Err(Error::Argument(format!(
            "peer {peer} is above the highest ID, {MAX_PEER}"
        )));
    }
    if vector > MAX_RING_VECTOR {
        return Err(Error::Argument(format!(
            "vector {vector} is above the highest one, {MAX_RING_VECTOR}"
        )));
    }
    Ok(())
}

/// A time limit as the driver takes it: what is too long for it is for ever.
fn nanoseconds(timeout: Option<Duration>) -> i64 {
    timeout
        .and_then(|limit| i64::try_from(limit.as_nanos()).ok())
        .unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits() {
        assert_eq!(nanoseconds(None), -1);
        assert_eq!(nanoseconds(Some(Duration::ZERO)), 0);
        assert_eq!(nanoseconds(Some(Duration::from_millis(3))), 3_000_000);
        assert_eq!(nanoseconds(Some(Duration::MAX)), -1);
    }

    #[test]
    fn what_cannot_be_rung_is_refused_before_the_system_call() {
        assert!(check_ring(MAX_PEER, MAX_RING_VECTOR).is_ok());
        assert!(matches!(check_ring(1 << 16, 0), Err(Error::Argument(_))));
        assert!(matches!(check_ring(0, 256), Err(Error::Argument(_))));
    }
}
