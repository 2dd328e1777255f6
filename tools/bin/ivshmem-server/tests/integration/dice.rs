// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Chance, the same each time.

use std::time::Duration;

/// Numbers that look random.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to 2^31 - 1.
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1);
        self.0 >> 33
    }

    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.throw()).unwrap() % limit
    }

    pub fn up_to(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.throw() as f64 / (1u64 << 31) as f64)
    }
}
