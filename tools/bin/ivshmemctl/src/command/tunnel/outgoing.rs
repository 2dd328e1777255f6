// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The rings to the other ends, none of which holds up the others for long.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use futures_util::{FutureExt, SinkExt};
use ivshmem_channel::{Error, Outbox};
use tokio::time::{timeout, Instant};

use crate::end::AnyLink;
use crate::mesh::Mesh;

/// How long a full ring may hold up packets to all ends. After that its packets are dropped until there is room.
const PATIENCE: Duration = Duration::from_millis(100);

/// The part of the time that each ring may hold up packets to other ends: one to an end that makes little room would do so
/// always.
const PART: u32 = 2;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is in the ring, or the next one that will be.
    Yes,
    /// There was no room for too long.
    Full,
    /// What is in the ring is of no use, until the channel is made anew.
    Corrupt,
}

/// A ring to each other end.
pub struct Outgoing(HashMap<u32, Ring>);

struct Ring {
    outbox: Outbox<AnyLink, Vec<u8>>,
    patience: Patience,
    /// It was full for too long, and has had no room since: the outbox has a packet that waits.
    stalled: bool,
    corrupt: bool,
}

impl Outgoing {
    /// To all other slots.
    pub fn new(mesh: &Mesh) -> Result<Self> {
        let mut rings = HashMap::new();
        for slot in mesh.others() {
            match mesh.member.sender(slot) {
                Ok(sender) => {
                    let ring = Ring {
                        outbox: Outbox::new(sender)?,
                        patience: Patience::new(Instant::now()),
                        stalled: false,
                        corrupt: false,
                    };
                    rings.insert(slot, ring);
                }
                // To the others there is a way.
                Err(Error::Corrupt(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self(rings))
    }

    /// Sends a packet to a slot, and waits for room, though not for long; `alone` says whether there is no other end that
    /// is held up by that.
    pub async fn send(&mut self, slot: u32, packet: Vec<u8>, alone: bool) -> Result<Sent> {
        match self.0.get_mut(&slot).filter(|ring| !ring.corrupt) {
            Some(ring) => ring.send(packet, alone).await,
            None => Ok(Sent::Corrupt),
        }
    }

    /// Goes on with what waits for room, without waiting. To be called from time to time.
    pub fn flush(&mut self) -> Result<()> {
        for ring in self.0.values_mut().filter(|ring| ring.stalled) {
            ring.flush_now()?;
        }
        Ok(())
    }
}

impl Ring {
    async fn send(&mut self, packet: Vec<u8>, alone: bool) -> Result<Sent> {
        // Who was waited for in vain is not waited for again.
        if self.stalled && self.flush_now()?.is_none() {
            return Ok(Sent::Full);
        }
        if let Err(error) = self.outbox.feed(packet).await {
            return self.failed(error);
        }
        if let Some(sent) = self.flush_now()? {
            return Ok(sent);
        }
        let begin = Instant::now();
        let limit = match alone {
            true => PATIENCE,
            false => self.patience.left(begin),
        };
        let flushed = timeout(limit, self.outbox.flush()).await;
        self.patience.used(begin.elapsed());
        match flushed {
            Ok(flushed) => self.flushed(flushed),
            Err(_) => Ok(Sent::Yes),
        }
    }

    /// Puts the packet that waits into the ring; `None` if there is no room.
    fn flush_now(&mut self) -> Result<Option<Sent>> {
        self.stalled = true;
        let flushed = self.outbox.flush().now_or_never();
        flushed.map(|flushed| self.flushed(flushed)).transpose()
    }

    fn flushed(&mut self, flushed: Result<(), Error>) -> Result<Sent> {
        self.stalled = false;
        match flushed {
            Ok(()) => Ok(Sent::Yes),
            Err(error) => self.failed(error),
        }
    }

    fn failed(&mut self, error: Error) -> Result<Sent> {
        match error {
            Error::Corrupt(_) => {
                self.corrupt = true;
                Ok(Sent::Corrupt)
            }
            // A part of the ring was left out after a crash.
            Error::TooLong { .. } => Ok(Sent::Full),
            error => Err(error.into()),
        }
    }
}

/// How long may still be waited: grows while time passes.
struct Patience {
    left: Duration,
    since: Instant,
}

impl Patience {
    fn new(now: Instant) -> Self {
        Self {
            left: PATIENCE,
            since: now,
        }
    }

    fn left(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.since);
        self.since = now;
        self.left = (self.left + passed / PART).min(PATIENCE);
        self.left
    }

    fn used(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_time_may_be_waited_in_the_long_run() {
        const STEP: Duration = Duration::from_millis(1);
        let mut now = Instant::now();
        let mut patience = Patience::new(now);
        assert_eq!(patience.left(now), PATIENCE);
        let mut waited = 0;
        for _ in 0..10_000 {
            let left = patience.left(now);
            assert!(left <= PATIENCE);
            if left >= STEP {
                patience.used(STEP);
                waited += 1;
            }
            now += STEP;
        }
        assert!((5_000..=5_100).contains(&waited), "{waited}");
        // What was not used long ago does not add up.
        assert_eq!(patience.left(now + 10 * PATIENCE), PATIENCE);
        patience.used(PATIENCE * 2);
        assert_eq!(patience.left(now), Duration::ZERO);
    }
}
