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

/// For how long a program was seen not to live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    /// Its incarnation and its heartbeat.
    seen: (u32, u32),
    silent: Duration,
    last: Instant,
}

impl Pulse {
    /// Compares with what was seen before; returns for how long there was no change.
    ///
    /// A look counts for `most` at most: when the watcher itself stood still for a while, the other may have done so
    /// too, and has to be given the time to show that it lives.
    pub fn watch(
        last: &mut Option<Self>,
        seen: (u32, u32),
        now: Instant,
        most: Duration,
    ) -> Duration {
        let before = last.filter(|pulse| pulse.seen == seen);
        let silent = before.map_or(Duration::ZERO, |pulse| {
            let passed = now.saturating_duration_since(pulse.last);
            pulse.silent + passed.min(most)
        });
        *last = Some(Self {
            seen,
            silent,
            last: now,
        });
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_that_stood_still_does_not_take_the_time_for_silence() {
        let most = Duration::from_millis(100);
        let mut now = Instant::now();
        let mut pulse = None;
        let mut look = |heartbeat, passed| {
            now += passed;
            Pulse::watch(&mut pulse, (7, heartbeat), now, most)
        };
        assert_eq!(look(1, Duration::ZERO), Duration::ZERO);
        // Both were frozen for a minute.
        assert_eq!(look(1, Duration::from_secs(60)), most);
        assert_eq!(look(1, most / 2), most * 3 / 2);
        assert_eq!(look(2, most / 2), Duration::ZERO);
        assert_eq!(look(2, most), most);
    }
}
