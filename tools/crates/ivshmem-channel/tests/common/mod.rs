// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Memory of three programs, and a channel in it.

#![allow(dead_code)] // No test uses all of it.

pub mod gate;

use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ivshmem::{forward_memory, Access, Doorbell, Mapping, Memory, Waiter};
use ivshmem_channel::{Channel, Layout, Member};

pub const SIZE: usize = 64 << 10;
/// Bytes of each ring, and of each sender's part of one with several.
pub const RING: u32 = 4096;
pub const SOON: Option<Duration> = Some(Duration::from_millis(1));
/// The slot that receives from all others.
pub const GATHERS: u32 = 2;

/// A program's end of the channel.
pub type End = Member<Arc<Polled>>;

/// An end of memory that looks at it instead of being rung: with a hostile peer, rings say nothing.
pub struct Polled {
    mapping: Mapping,
    id: u32,
    vectors: u32,
    rings: AtomicU32,
    /// What happens before each access.
    meanwhile: Option<Meanwhile>,
}

type Meanwhile = Box<dyn Fn() + Send + Sync>;

impl std::fmt::Debug for Polled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Polled({})", self.id)
    }
}

impl Polled {
    pub fn of(file: &File, id: u32) -> Arc<Self> {
        Self::with_vectors(file, id, 0)
    }

    /// One that can be rung: the others' [`rings`](Self::rings) count it.
    pub fn with_vectors(file: &File, id: u32, vectors: u32) -> Arc<Self> {
        Arc::new(Self::new(file, id, vectors, None))
    }

    /// One before whose every access something happens, such as the heartbeat of somebody who lives: a thread for
    /// that might not get its turn in time.
    pub fn while_using(
        file: &File,
        id: u32,
        meanwhile: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self::new(file, id, 0, Some(Box::new(meanwhile))))
    }

    fn new(file: &File, id: u32, vectors: u32, meanwhile: Option<Meanwhile>) -> Self {
        Self {
            mapping: Mapping::of(file, 0, SIZE, Access::ReadWrite).unwrap(),
            id,
            vectors,
            rings: AtomicU32::new(0),
            meanwhile,
        }
    }

    /// How often it has rung anybody.
    pub fn rings(&self) -> u32 {
        self.rings.load(Ordering::Relaxed)
    }

    fn mapping(&self) -> &Mapping {
        if let Some(meanwhile) = &self.meanwhile {
            meanwhile();
        }
        &self.mapping
    }
}

forward_memory!({} Polled, Polled::mapping);

impl Doorbell for Polled {
    fn peer_id(&self) -> u32 {
        self.id
    }
    fn vectors(&self) -> u32 {
        self.vectors
    }
    fn ring(&self, _: u32, _: u32) -> ivshmem::Result<()> {
        self.rings.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Waiter for Polled {
    fn wait(&self, _: u64, _: Option<Duration>) -> ivshmem::Result<u64> {
        Err(ivshmem::Error::NoDoorbell)
    }
    fn wait_word(&self, at: u64, value: u32, timeout: Option<Duration>) -> ivshmem::Result<bool> {
        let begin = Instant::now();
        while self.load32(at, Ordering::Acquire)? == value {
            if timeout.is_some_and(|limit| begin.elapsed() >= limit) {
                return Ok(false);
            }
            std::thread::yield_now();
        }
        Ok(true)
    }
}

pub fn memory() -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(SIZE as u64).unwrap();
    file
}

/// A ring each way between slots 0 and 1, and one from both to slot [`GATHERS`].
pub fn layout() -> Layout {
    let layout = Layout::new(3).ring(0, 1, RING).ring(1, 0, RING);
    let layout = layout.multi_ring(GATHERS, RING);
    layout.heartbeat(Duration::from_millis(10), Duration::from_millis(100))
}

/// Makes the channel in `file` and joins all slots, with a memory of its own for each.
pub fn members(file: &File) -> [End; 3] {
    join(&[0, 1, 2].map(|id| Polled::of(file, id)))
}

/// Makes the channel and joins all slots.
pub fn join(ends: &[Arc<Polled>; 3]) -> [End; 3] {
    Channel::create(Arc::clone(&ends[0]), 0, &layout()).unwrap();
    [0u32, 1, 2].map(|slot| {
        let end = Arc::clone(&ends[slot as usize]);
        let channel = Channel::open(end, 0).unwrap();
        channel.join(slot, 0).unwrap()
    })
}
