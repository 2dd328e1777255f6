// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who is there, told by heartbeats.

use std::time::{Duration, Instant};

/// What is known of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nobody has joined since the channel was made, or whoever did has left.
    Absent,
    /// A program has joined, and shows that it lives.
    Present {
        /// Another number each time that somebody joins: what was said to another is not known to this one.
        incarnation: u32,
        /// Its peer ID.
        peer_id: u32,
    },
    /// A program has joined, and has been silent for too long: it crashed, hangs, or its machine stands still.
    Lost {
        /// As above.
        incarnation: u32,
    },
}

/// When a program was seen to live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    incarnation: u32,
    heartbeat: u32,
    since: Instant,
}

impl Pulse {
    /// Compares with what was seen before; returns for how long there was no change.
    ///
    /// That time begins after the look that saw the present heartbeat first, and ends at `before`, a moment before
    /// this look: a heartbeat that comes while who looks is stopped in the middle of it does not count as missing.
    pub fn watch(
        last: &mut Option<Self>,
        incarnation: u32,
        heartbeat: u32,
        before: Instant,
    ) -> Duration {
        match last {
            Some(pulse) if (pulse.incarnation, pulse.heartbeat) == (incarnation, heartbeat) => {
                before.saturating_duration_since(pulse.since)
            }
            _ => {
                *last = Some(Self {
                    incarnation,
                    heartbeat,
                    since: Instant::now(),
                });
                Duration::ZERO
            }
        }
    }
}
