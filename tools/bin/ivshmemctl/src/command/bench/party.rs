// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What both ends of a measurement have, and how one waits for the other.

use std::process::Child;
use std::sync::atomic::Ordering;

use anyhow::Result;
use ivshmem::{Device, Doorbell, Endpoint, EventPage, Memory, Mode, Waiter};
use rustix::event::{poll, PollFd, PollFlags};

use crate::claim::Place;
use crate::end::DeviceName;

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

/// One end.
pub struct Party {
    pub link: Endpoint,
    page: EventPage,
    /// Which of its vectors the other end rings.
    pub vector: u32,
    at: u64,
}

impl Party {
    /// Opens the device, and takes a part of its memory. The one that serves is rung on another vector, so that two processes
    /// of one machine do not wake each other where they need not.
    pub fn open(device: &DeviceName, place: &Place, serves: bool) -> Result<Self> {
        let device: Device = device.open(Mode::ReadWrite)?;
        let page = device.event_page()?;
        let link = Endpoint::of(device)?;
        // CAST: A small constant.
        let at = place.claim(&link, BLOCK as u64, TAIL, MARK_VALUE)?;
        let vector = match serves {
            true => 1.min(link.vectors().saturating_sub(1)),
            false => 0,
        };
        if link.vectors() > 0 {
            link.device().subscribe(1 << vector)?;
        }
        Ok(Self {
            link,
            page,
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

    /// Waits until the word is not `old` any more, and returns what it is.
    pub fn wait(&self, way: Way, word: u64, old: u32) -> Result<u32> {
        let device = self.link.device();
        loop {
            // Before the word: a ring after it is a reason to look again.
            let seen = self.page.interrupts(self.vector);
            let now = self.load(word)?;
            if now != old {
                return Ok(now);
            }
            match way {
                Way::WaitWord => {
                    self.link.wait_word(self.place(word), old, None)?;
                }
                Way::Read => {
                    device.read_events()?;
                }
                Way::Poll => {
                    poll(&mut [PollFd::new(device, PollFlags::IN)], None)?;
                    device.read_events()?;
                }
                Way::Spin => {
                    while self.page.interrupts(self.vector) == seen && !self.page.is_dead() {
                        std::hint::spin_loop();
                    }
                    // Tells of a device that is gone.
                    if self.page.is_dead() {
                        device.info()?;
                    }
                }
            }
        }
    }
}
