// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Waiting for the other end: looking for a while first, longer where that helped lately, then sleeping.

use std::time::{Duration, Instant};

use ivshmem::Link;

use crate::seat::Seat;
use crate::Result;

/// Fewest looks.
const LEAST: u32 = 8;
/// Most looks at one ring, a few microseconds.
const MOST: u32 = 2048;

/// Looks before a sleep.
#[derive(Debug)]
pub(crate) struct Patience {
    looks: u32,
    most: u32,
}

impl Patience {
    /// For who looks at `rings` rings each time, at most 64.
    pub fn with(rings: usize) -> Self {
        // CAST: At most 64.
        let most = MOST / (rings as u32).max(1);
        Self { looks: LEAST, most }
    }

    /// Waits until `probe` finds something in `ring`; `None` if the time is over. `arm` asks the other end to ring,
    /// and returns the word to sleep on, unless there is something by now.
    pub fn wait<L: Link, R, T>(
        &mut self,
        seat: &Seat<L>,
        timeout: Option<Duration>,
        ring: &mut R,
        mut probe: impl FnMut(&mut R) -> Result<Option<T>>,
        mut arm: impl FnMut(&mut R) -> Result<Option<(u64, u32)>>,
    ) -> Result<Option<T>> {
        let begin = Instant::now();
        loop {
            if let Some(found) = self.look(|| probe(ring))? {
                return Ok(Some(found));
            }
            let left = timeout.map(|limit| limit.saturating_sub(begin.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            if let Some(word) = arm(ring)? {
                seat.sleep(word, left)?;
            }
        }
    }

    /// Looks some times; returns what was found.
    fn look<T>(&mut self, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
        for _ in 0..self.looks {
            if let Some(found) = probe()? {
                self.looks = (self.looks * 2).min(self.most);
                return Ok(Some(found));
            }
            std::hint::spin_loop();
        }
        self.looks = (self.looks / 2).max(LEAST);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often it looks for what is there at look number `at`.
    fn looks(patience: &mut Patience, at: u32) -> u32 {
        let mut looks = 0;
        let found = patience.look(|| {
            looks += 1;
            Ok((looks == at).then_some(()))
        });
        assert_eq!(found.unwrap().is_some(), looks == at);
        looks
    }

    #[test]
    fn it_looks_longer_where_that_helped_and_less_where_it_did_not() {
        let mut patience = Patience::with(1);
        assert_eq!(looks(&mut patience, 0), LEAST);
        for _ in 0..20 {
            assert_eq!(looks(&mut patience, 1), 1);
        }
        assert_eq!(looks(&mut patience, 0), MOST);
        assert_eq!(looks(&mut patience, 0), MOST / 2);
        for _ in 0..20 {
            looks(&mut patience, 0);
        }
        assert_eq!(looks(&mut patience, 0), LEAST);
    }

    #[test]
    fn with_many_rings_it_looks_at_each_less_often() {
        let mut patience = Patience::with(64);
        for _ in 0..20 {
            looks(&mut patience, 1);
        }
        assert_eq!(looks(&mut patience, 0), MOST / 64);
    }
}
