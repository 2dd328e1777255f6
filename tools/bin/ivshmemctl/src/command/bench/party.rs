// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What both endpoints of a measurement have, and how one waits for the other.

use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use anyhow::Result;
use ivshmem::{Device, Doorbell, Endpoint, EventPage, Memory, Mode, Waiter};
use rustix::event::{poll, PollFd, PollFlags};

use crate::claim::Place;
use crate::end::{join, settle, AnyLink, End};

/// Bytes of the memory that are used.
pub const BLOCK: usize = 512 << 10;
/// What marks them: "benc".
pub const MARK_VALUE: u32 = u32::from_le_bytes(*b"benc");
/// Bytes behind them that are left to `ping`, and keep the beginning of them at a page.
const TAIL: u64 = 4096;

/// The ways to wait for a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `IVSHMEM_WAIT` with `IVSHMEM_WAIT_WORD`.
    WaitWord = 1,
    /// `read` on the node.
    Read = 2,
    /// `poll`, and then `read`.
    Poll = 3,
    /// Looking at the event page.
    Spin = 4,
}

impl Way {
    /// All of them, and their names.
    pub const ALL: [(Self, &str); 4] = [
        (Self::WaitWord, "WAIT_WORD"),
        (Self::Read, "read"),
        (Self::Poll, "poll and read"),
        (Self::Spin, "event page, spinning"),
    ];
}

/// A process of this program, ended when this is dropped.
pub struct Helper(pub Child);

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What an endpoint is.
pub enum Kind {
    /// A device, which has more ways to wait than others.
    Device(Arc<Endpoint>, EventPage),
    /// A peer of the server with this socket.
    Host(PathBuf),
}

/// One endpoint.
pub struct Party {
    pub link: AnyLink,
    pub kind: Kind,
    /// Which of its vectors the other endpoint rings.
    pub vector: u32,
    at: u64,
}

impl Kind {
    fn open(end: &End) -> Result<(AnyLink, Self)> {
        if let Some(socket) = end.socket() {
            let peer = join(&socket)?;
            settle(&peer);
            return Ok((Arc::new(peer), Self::Host(socket)));
        }
        let device: Device = end.device(Mode::ReadWrite)?;
        let page = device.event_page()?;
        let endpoint = Arc::new(Endpoint::of(device)?);
        Ok((endpoint.clone(), Self::Device(endpoint, page)))
    }

    /// The device, unless it is a host endpoint.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match self {
            Self::Device(endpoint, _) => Some(endpoint),
            Self::Host(_) => None,
        }
    }
}

impl Party {
    /// Opens the device or joins, and takes a part of the memory. The one that serves is rung on another vector, so that two
    /// processes of one machine do not wake each other where they need not.
    pub fn open(end: &End, place: &Place, serves: bool) -> Result<Self> {
        let (link, kind) = Kind::open(end)?;
        // CAST: A small constant.
        let at = place.claim(&link, BLOCK as u64, TAIL, MARK_VALUE)?;
        let vector = match serves {
            true => 1.min(link.vectors().saturating_sub(1)),
            false => 0,
        };
        if let Some(endpoint) = kind.endpoint().filter(|_| link.vectors() > 0) {
            endpoint.device().subscribe(1 << vector)?;
        }
        Ok(Self {
            link,
            kind,
            vector,
            at,
        })
    }

    /// Byte of the memory at `offset` of the part that is used.
    pub fn place(&self, offset: u64) -> u64 {
        self.at.saturating_add(offset)
    }

    pub fn load(&self, word: u64) -> Result<u32> {
        Ok(self.link.load32(self.place(word), Ordering::Acquire)?)
    }

    pub fn store(&self, word: u64, value: u32) -> Result<()> {
        let place = self.place(word);
        Ok(self.link.store32(place, value, Ordering::Release)?)
    }

    /// Waits until the word is not `old` any more, and returns what it is. A host endpoint has one way to wait.
    pub fn wait(&self, way: Way, word: u64, old: u32) -> Result<u32> {
        match &self.kind {
            Kind::Device(endpoint, page) if way != Way::WaitWord => {
                self.wait_for_ring(endpoint.device(), page, way, word, old)
            }
            _ => loop {
                let now = self.load(word)?;
                if now != old {
                    return Ok(now);
                }
                self.link.wait_word(self.place(word), old, None)?;
            },
        }
    }

    fn wait_for_ring(
        &self,
        device: &Device,
        page: &EventPage,
        way: Way,
        word: u64,
        old: u32,
    ) -> Result<u32> {
        loop {
            // Before the word: a ring after it is a reason to look again.
            let seen = page.interrupts(self.vector);
            let now = self.load(word)?;
            if now != old {
                return Ok(now);
            }
            if way == Way::Spin {
                while page.interrupts(self.vector) == seen && !page.is_dead() {
                    std::hint::spin_loop();
                }
                // Tells of a device that is gone.
                if page.is_dead() {
                    device.info()?;
                }
                continue;
            }
            if way == Way::Poll {
                poll(&mut [PollFd::new(device, PollFlags::IN)], None)?;
            }
            device.read_events()?;
        }
    }
}
