// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Waiting for the other end: looking for a while first, longer where that helps, then sleeping.

use std::time::{Duration, Instant};

use ivshmem::Link;

use crate::alarm::Alarm;
use crate::cancel::Cancel;
use crate::seat::Seat;
use crate::Result;

/// About what it costs to go to sleep and to be woken: who looks for as long before it sleeps takes at most twice as
/// long as who knows which would have been better.
const SLEEP: Duration = Duration::from_micros(60);
/// The shortest time to look if it never helps.
const LEAST: Duration = Duration::from_nanos(500);
/// Looks from one look at the clock to the next.
const BURST: u32 = 16;

/// How long to look for something before sleeping. Looking keeps a processor busy, and answers in less than a
/// microsecond; a sleep costs some tens of microseconds and a doorbell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spin {
    /// Up to the time that a sleep costs, as long as that helps, and hardly at all where it does not.
    #[default]
    Learn,
    /// Not at all: for many programs on few processors.
    Never,
    /// For so long each time.
    For(Duration),
    /// Without ever sleeping: for programs that have a processor for themselves.
    Always,
}

/// What was learnt about looking.
#[derive(Debug)]
pub(crate) struct Patience {
    spin: Spin,
    budget: Duration,
    alarm: Alarm,
}

impl Default for Patience {
    fn default() -> Self {
        Self::new(Spin::default())
    }
}

impl Patience {
    fn new(spin: Spin) -> Self {
        let budget = match spin {
            Spin::Learn => LEAST,
            Spin::Never => Duration::ZERO,
            Spin::For(time) => time,
            Spin::Always => Duration::MAX,
        };
        Self {
            spin,
            budget,
            alarm: Alarm::default(),
        }
    }

    pub fn set_spin(&mut self, spin: Spin) {
        let new = Self::new(spin);
        (self.spin, self.budget) = (new.spin, new.budget);
    }

    pub fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// Hears all rings from here on.
    pub fn listen<L: Link>(&mut self, seat: &Seat<L>) -> Result<()> {
        self.alarm.listen(seat)
    }

    pub fn set_cancel(&mut self, cancel: &Cancel) {
        self.alarm.set_cancel(cancel);
    }

    /// Waits until `probe` finds something in `ring`; `None` if the time is over. `arm` asks the other end to ring,
    /// and returns the word to sleep on, unless there is something by now. It is told whether a sleep has ended for
    /// no reason.
    pub fn wait<L: Link, R, T>(
        &mut self,
        seat: &Seat<L>,
        timeout: Option<Duration>,
        ring: &mut R,
        mut probe: impl FnMut(&mut R) -> Result<Option<T>>,
        mut arm: impl FnMut(&mut R, bool) -> Result<Option<(u64, u32)>>,
    ) -> Result<Option<T>> {
        if timeout.is_some_and(|limit| limit.is_zero()) {
            return probe(ring);
        }
        let begin = Instant::now();
        let mut idle = false;
        loop {
            let left = timeout.map(|limit| limit.saturating_sub(begin.elapsed()));
            if let Some(found) = self.look(seat, left, || probe(ring))? {
                return Ok(Some(found));
            }
            let left = timeout.map(|limit| limit.saturating_sub(begin.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            if self.alarm.is_set() {
                self.alarm.listen(seat)?;
            }
            if let Some(word) = arm(ring, idle)? {
                let asleep = Instant::now();
                idle = !match self.alarm.is_set() {
                    true => self.alarm.sleep(seat, left)?,
                    false => seat.sleep(word, left)?,
                };
                self.slept(asleep.elapsed());
            } else {
                // Others can write without end what is no message.
                seat.attend()?;
            }
        }
    }

    /// Looks for a while; returns what was found.
    fn look<L: Link, T>(
        &mut self,
        seat: &Seat<L>,
        left: Option<Duration>,
        mut probe: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let begin = Instant::now();
        let limit = left.map_or(self.budget, |left| left.min(self.budget));
        loop {
            for _ in 0..BURST {
                if let Some(found) = probe()? {
                    return Ok(Some(found));
                }
                std::hint::spin_loop();
            }
            self.alarm.check()?;
            if begin.elapsed() >= limit {
                return Ok(None);
            }
            if self.spin == Spin::Always || limit > SLEEP {
                seat.attend()?;
            }
        }
    }

    /// Learns from a sleep that took so long.
    fn slept(&mut self, time: Duration) {
        if self.spin != Spin::Learn {
            return;
        }
        self.budget = match time < SLEEP {
            // Looking for as long would have found it.
            true => (self.budget * 8).min(SLEEP),
            false => (self.budget / 2).max(LEAST),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_longer_where_sleeps_are_short_and_less_where_they_are_long() {
        let mut patience = Patience::new(Spin::Learn);
        for _ in 0..3 {
            patience.slept(SLEEP / 2);
        }
        assert_eq!(patience.budget, SLEEP);
        patience.slept(SLEEP);
        assert_eq!(patience.budget, SLEEP / 2);
        for _ in 0..20 {
            patience.slept(SLEEP * 10);
        }
        assert_eq!(patience.budget, LEAST);
        patience.set_spin(Spin::For(SLEEP * 2));
        patience.slept(SLEEP * 10);
        assert_eq!(patience.budget, SLEEP * 2);
    }
}
