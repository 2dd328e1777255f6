// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Interrupts over time.

use std::collections::VecDeque;
use std::time::Instant;

/// How many intervals are remembered: as wide as a large screen.
const HISTORY: usize = 200;

/// What was counted up to a time.
#[derive(Clone, Debug)]
pub struct Snapshot {
    at: Instant,
    interrupts: Vec<u64>,
    dead: bool,
}

impl Snapshot {
    /// What it is now: interrupts by vector, and whether the device is gone.
    pub fn now(interrupts: Vec<u64>, dead: bool) -> Self {
        Self {
            at: Instant::now(),
            interrupts,
            dead,
        }
    }
}

/// What was seen of one vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<'a> {
    /// The vector.
    pub vector: usize,
    /// Interrupts since the driver was bound, or rings since the peer joined.
    pub interrupts: u64,
    /// Interrupts in a second, in the last interval.
    pub rate: f64,
    /// Interrupts of each interval, the latest last.
    pub history: &'a VecDeque<u64>,
}

/// All snapshots so far, in short.
#[derive(Debug)]
pub struct Counts {
    begin: Instant,
    last: Snapshot,
    rates: Vec<f64>,
    histories: Vec<VecDeque<u64>>,
}

impl Counts {
    /// Begins with this snapshot.
    pub fn new(first: Snapshot) -> Self {
        let vectors = first.interrupts.len();
        Self {
            begin: first.at,
            last: first,
            rates: vec![0.0; vectors],
            histories: vec![VecDeque::new(); vectors],
        }
    }

    /// Goes on with this one.
    pub fn add(&mut self, next: Snapshot) {
        let seconds = (next.at - self.last.at).as_secs_f64();
        for (vector, now) in next.interrupts.iter().enumerate() {
            let new = now.wrapping_sub(self.last.interrupts[vector]);
            // CAST: Exact up to 2^53 interrupts in an interval.
            self.rates[vector] = new as f64 / seconds.max(f64::MIN_POSITIVE);
            let history = &mut self.histories[vector];
            history.push_back(new);
            if history.len() > HISTORY {
                history.pop_front();
            }
        }
        self.last = next;
    }

    /// Whether the device is gone.
    pub fn dead(&self) -> bool {
        self.last.dead
    }

    /// Seconds from the first snapshot to the last.
    pub fn seconds(&self) -> f64 {
        (self.last.at - self.begin).as_secs_f64()
    }

    /// What was seen of each vector.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let histories = self.histories.iter().enumerate();
        histories.map(|(vector, history)| Row {
            vector,
            interrupts: self.last.interrupts[vector],
            rate: self.rates[vector],
            history,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn rates_and_histories() {
        let begin = Instant::now();
        let at = |seconds, interrupts: [u64; 2]| Snapshot {
            at: begin + Duration::from_secs(seconds),
            interrupts: interrupts.into(),
            dead: false,
        };
        let mut counts = Counts::new(at(0, [5, 0]));
        counts.add(at(2, [15, 0]));
        counts.add(at(3, [15, 7]));
        let rows: Vec<_> = counts.rows().collect();
        assert_eq!((rows[0].interrupts, rows[0].rate), (15, 0.0));
        assert_eq!((rows[1].interrupts, rows[1].rate), (7, 7.0));
        assert_eq!(rows[0].history, &[10, 0]);
        assert_eq!(counts.seconds(), 3.0);
    }

    #[test]
    fn the_history_is_bounded() {
        let mut counts = Counts::new(Snapshot::now(vec![0], false));
        for number in 0..2 * HISTORY as u64 {
            counts.add(Snapshot::now(vec![number], false));
        }
        assert_eq!(counts.rows().next().unwrap().history.len(), HISTORY);
    }
}
