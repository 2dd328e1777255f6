// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! How often something may happen.

use std::time::Instant;

/// A token bucket: so many times at once, and then so often.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    burst: f64,
    per_second: f64,
    tokens: f64,
    since: Instant,
}

impl Bucket {
    /// A full bucket: `burst` times at once, and `per_second` times in a second in the long run.
    pub fn new(burst: f64, per_second: f64, now: Instant) -> Self {
        Self {
            burst,
            per_second,
            tokens: burst,
            since: now,
        }
    }

    /// Takes a token, if as many are there as `needed`, which is at least one. Returns whether it did.
    pub fn take(&mut self, now: Instant, needed: f64) -> bool {
        self.fill(now);
        let enough = self.tokens >= needed;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    /// Whether it is as good as a new one.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens >= self.burst
    }

    fn fill(&mut self, now: Instant) {
        let gained = now.duration_since(self.since).as_secs_f64() * self.per_second;
        self.since = now;
        self.tokens = (self.tokens + gained).min(self.burst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn at_once_and_in_the_long_run() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, 2.0, start);
        let mut taken = (0..20).filter(|_| bucket.take(start, 1.0)).count();
        assert_eq!(taken, 10);
        for second in 1..=100 {
            let now = start + Duration::from_secs(second);
            taken += (0..20).filter(|_| bucket.take(now, 1.0)).count();
            assert!(!bucket.is_full(now));
        }
        assert_eq!(taken, 210);
        // Less than is needed is left for others.
        let later = start + Duration::from_secs(103);
        assert!(!bucket.take(later, 7.0) && bucket.take(later, 6.0));
        assert!(bucket.is_full(start + Duration::from_secs(200)));
    }
}
