// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Waiting where nobody can ring: looking again and again.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::{Memory, Result};

/// From one look to the next, for an end that cannot be rung, unless said.
pub const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Looks at the aligned 32-bit word at byte `offset` of `memory` in each `interval`, until it is not `value` or the time is
/// over; for implementations of [`Waiter::wait_word`](crate::Waiter::wait_word). `check` comes before each pause. An
/// `interval` of zero is no pause, and keeps a processor busy.
///
/// # Errors
///
/// [`Error::Access`](crate::Error::Access), and those of `check`.
pub fn poll_word(
    memory: &impl Memory,
    offset: u64,
    value: u32,
    timeout: Option<Duration>,
    interval: Duration,
    mut check: impl FnMut() -> Result<()>,
) -> Result<bool> {
    let begin = Instant::now();
    while memory.load32(offset, Ordering::Acquire)? == value {
        check()?;
        let left = timeout.map(|limit| limit.saturating_sub(begin.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
        std::thread::sleep(left.map_or(interval, |left| left.min(interval)));
    }
    Ok(true)
}
