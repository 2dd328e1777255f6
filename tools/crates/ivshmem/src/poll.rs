// SPDX-License-Identifier: GPL-2.0-only OR MIT

<<<<<<< HEAD
//! Waiting without interrupts: looking again and again.
=======
//! Waiting where nobody can ring.
>>>>>>> chan2

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::{Memory, Result};

<<<<<<< HEAD
/// From one look to the next, unless said.
pub(crate) const INTERVAL: Duration = Duration::from_millis(1);

/// Looks at the 32-bit word at `offset` in each `interval` while it is `value`, as
/// [`Waiter::wait_word`](crate::Waiter::wait_word) says. `alive` fails when the device is gone; it is asked before each
/// sleep.
pub(crate) fn poll_word(
=======
/// How often an end that cannot be rung looks at the memory.
const INTERVAL: Duration = Duration::from_millis(1);

/// Looks at the aligned 32-bit word at byte `offset` of `memory` once in a millisecond, until it is not `value` or the time
/// is over; for implementations of [`Waiter::wait_word`](crate::Waiter::wait_word). `check` comes before each pause.
///
/// # Errors
///
/// [`Error::Access`](crate::Error::Access), and those of `check`.
pub fn poll_word(
>>>>>>> chan2
    memory: &impl Memory,
    offset: u64,
    value: u32,
    timeout: Option<Duration>,
<<<<<<< HEAD
    interval: Duration,
    alive: impl Fn() -> Result<()>,
) -> Result<bool> {
    let begin = Instant::now();
    while memory.load32(offset, Ordering::Relaxed)? == value {
        // Touching the memory of a device that is gone would kill us; this tells in time, mostly.
        alive()?;
        let left = timeout.map_or(interval, |limit| limit.saturating_sub(begin.elapsed()));
        if left.is_zero() {
            return Ok(false);
        }
        std::thread::sleep(left.min(interval));
=======
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
>>>>>>> chan2
    }
    Ok(true)
}
