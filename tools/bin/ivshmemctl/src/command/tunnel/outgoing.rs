// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The rings to the other endpoints, none of which holds up the others for long.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use ivshmem_channel::{Error, Sender};

use crate::end::AnyLink;
use crate::mesh::Mesh;

/// How long a full ring may hold up packets to all endpoints. After that its packets are dropped until there is room.
const PATIENCE: Duration = Duration::from_millis(100);

/// The part of the time that each ring may hold up packets to other endpoints: one to an endpoint that makes little room
/// would do so always.
const PART: u32 = 2;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is in the ring.
    Yes,
    /// There was no room for too long.
    Full,
    /// What is in the ring is of no use, until the channel is recreated.
    Corrupt,
}

/// A ring to each other endpoint.
pub struct Outgoing(HashMap<u32, Ring>);

struct Ring {
    sender: Sender<AnyLink>,
    patience: Patience,
    /// It was full for too long, and has had no room since.
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
                        sender,
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

    /// Sends a packet to a slot, and waits for room, though not for long; `alone` says whether there is no other endpoint that
    /// is held up by that.
    pub fn send(&mut self, slot: u32, packet: &[u8], alone: bool) -> Result<Sent> {
        match self.0.get_mut(&slot).filter(|ring| !ring.corrupt) {
            Some(ring) => ring.send(packet, alone),
            None => Ok(Sent::Corrupt),
        }
    }
}

impl Ring {
    fn send(&mut self, packet: &[u8], alone: bool) -> Result<Sent> {
        let mut sent = self.sender.send(packet, Some(Duration::ZERO));
        // Who was waited for in vain is not waited for again.
        if matches!(sent, Err(Error::TimedOut)) && !self.stalled {
            let begin = Instant::now();
            let limit = match alone {
                true => PATIENCE,
                false => self.patience.left(begin),
            };
            sent = self.sender.send(packet, Some(limit));
            self.patience.used(begin.elapsed());
        }
        self.stalled = matches!(sent, Err(Error::TimedOut));
        match sent {
            Ok(()) => Ok(Sent::Yes),
            // Of one that is too long a part of the ring was left out after a crash.
            Err(Error::TimedOut | Error::TooLong { .. }) => Ok(Sent::Full),
            Err(Error::Corrupt(_)) => {
                self.corrupt = true;
                Ok(Sent::Corrupt)
            }
            Err(error) => Err(error.into()),
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
