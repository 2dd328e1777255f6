// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Waiting where nobody can ring.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::{Memory, Result};

/// How often an end that cannot be rung looks at the memory.
const INTERVAL: Duration = Duration::from_millis(1);

/// Looks at the aligned 32-bit word at byte `offset` of `memory` once in a millisecond, until it is not `value` or the time
/// is over; for implementations of [`Waiter::wait_word`](crate::Waiter::wait_word). `check` comes before each pause.
///
/// # Errors
///
/// [`Error::Access`](crate::Error::Access), and those of `check`.
pub fn poll_word(
    memory: &impl Memory,
    offset: u64,
    value: u32,
    timeout: Option<Duration>,
    mut check: impl FnMut() -> Result<()>,
) -> Result<bool> {
    let begin = Instant::now();
    while memory.load32(offset, Ordering::Acquire)? == value {
        check()?;
        let left = timeout.map_or(INTERVAL, |limit| limit.saturating_sub(begin.elapsed()));
        if left.is_zero() {
            return Ok(false);
        }
        std::thread::sleep(left.min(INTERVAL));
    }
    Ok(true)
}
