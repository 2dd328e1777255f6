// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How long something takes, and what it has to run on.

use std::num::NonZero;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Processors that this process may use.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Nanoseconds of one call: the mean of as many as take `time`.
pub fn per_call(time: Duration, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    // Not counted: the first one finds nothing in its place.
    call()?;
    let mut calls = 1u32;
    loop {
        let begin = Instant::now();
        for _ in 0..calls {
            call()?;
        }
        let took = begin.elapsed();
        if took >= time || calls > u32::MAX / 2 {
            // CAST: Exact below 2^53 nanoseconds.
            return Ok(took.as_nanos() as f64 / f64::from(calls));
        }
        calls *= 2;
    }
}

/// MiB/s of something that moves `bytes` in so many nanoseconds.
pub fn rate(bytes: usize, nanoseconds: f64) -> f64 {
    // CAST: Both are small.
    bytes as f64 / f64::from(1 << 20) / (nanoseconds / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_takes_its_time() {
        let nap = Duration::from_millis(2);
        let call = || {
            std::thread::sleep(nap);
            Ok(())
        };
        let took = per_call(Duration::from_millis(10), call).unwrap();
        assert!(took >= nap.as_nanos() as f64, "{took}");
        assert_eq!(rate(1 << 20, 1e9), 1.0);
    }
}
