// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who is there, told by heartbeats.

use std::time::{Duration, Instant};

use ivshmem::{AccessError, Memory};

use crate::slot::Slot;
use crate::Plan;

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
    /// A program has joined, and has been silent for too long: it crashed, hangs, or its guest is stopped.
    Lost {
        /// As above.
        incarnation: u32,
    },
}

/// Looks once at a slot, whose last look left this pulse.
pub(crate) fn presence(
    memory: &impl Memory,
    plan: &Plan,
    slot: Slot,
    pulse: &mut Option<Pulse>,
) -> Result<Presence, AccessError> {
    let began = Instant::now();
    let owner = slot.owner(memory)?;
    if !owner.is_of(plan.generation()) {
        return Ok(Presence::Absent);
    }
    let incarnation = owner.incarnation;
    let words = slot.words(memory)?;
    let (heartbeat, peer_id) = match pulse.map(|pulse| pulse.last) {
        _ if words.joined == incarnation => (words.heartbeat, words.peer_id),
        // It has joined, and somebody who lost the slot to it has written over what it said: that is no sign of its life.
        Some(Look { seen, peer_id, .. }) if seen.0 == incarnation => (seen.1, peer_id),
        _ => return Ok(Presence::Absent),
    };
    let look = Look {
        seen: (incarnation, heartbeat),
        peer_id,
        began,
        ended: Instant::now(),
    };
    let silent = look.watch(pulse, plan.heartbeat());
    if silent >= plan.lost_after() {
        return Ok(Presence::Lost { incarnation });
    }
    Ok(Presence::Present {
        incarnation,
        peer_id,
    })
}

/// One look at a program's heartbeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Its incarnation and its heartbeat.
    pub seen: (u32, u32),
    /// Its peer ID.
    pub peer_id: u32,
    /// Before the look, and after it.
    pub began: Instant,
    pub ended: Instant,
}

/// For how long a program was seen not to live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    last: Look,
    silent: Duration,
}

impl Pulse {
    /// The incarnation and the heartbeat of the last look.
    pub fn seen(self) -> (u32, u32) {
        self.last.seen
    }
}

impl Look {
    /// Compares with what was seen before; returns for how long there was no change.
    ///
    /// What counts is the time between two looks, not that within one: a heartbeat that comes while who looks is stopped
    /// in the middle of it does not count as missing. And it counts for `most` at most: when the watcher itself stood
    /// still for a while, the other may have done so too, and has to be given the time to show that it lives.
    pub fn watch(self, pulse: &mut Option<Pulse>, most: Duration) -> Duration {
        let before = pulse.filter(|pulse| pulse.last.seen == self.seen);
        let silent = before.map_or(Duration::ZERO, |pulse| {
            let passed = self.began.saturating_duration_since(pulse.last.ended);
            pulse.silent + passed.min(most)
        });
        *pulse = Some(Pulse { last: self, silent });
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(100);

    /// Looks in turn, each after `passed`, in the middle of which the watcher is stopped for `within`.
    struct Watcher {
        now: Instant,
        pulse: Option<Pulse>,
    }

    impl Watcher {
        fn new() -> Self {
            let now = Instant::now();
            Self { now, pulse: None }
        }

        fn look(&mut self, heartbeat: u32, passed: Duration, within: Duration) -> Duration {
            let began = self.now + passed;
            self.now = began + within;
            let look = Look {
                seen: (7, heartbeat),
                peer_id: 0,
                began,
                ended: self.now,
            };
            look.watch(&mut self.pulse, MOST)
        }
    }

    #[test]
    fn a_watcher_that_stood_still_does_not_take_the_time_for_silence() {
        let mut watcher = Watcher::new();
        let mut look = |heartbeat, passed| watcher.look(heartbeat, passed, Duration::ZERO);
        assert_eq!(look(1, Duration::ZERO), Duration::ZERO);
        // Both were frozen for a minute.
        assert_eq!(look(1, Duration::from_secs(60)), MOST);
        assert_eq!(look(1, MOST / 2), MOST * 3 / 2);
        assert_eq!(look(2, MOST / 2), Duration::ZERO);
        assert_eq!(look(2, MOST), MOST);
    }

    #[test]
    fn a_look_that_takes_long_is_no_silence() {
        let mut watcher = Watcher::new();
        for _ in 0..10 {
            assert_eq!(watcher.look(1, Duration::ZERO, MOST), Duration::ZERO);
        }
    }
}
