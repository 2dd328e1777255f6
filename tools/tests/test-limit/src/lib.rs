// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The one time limit of all tests in Rust, and of what they are made of.
//!
//! It is there to end what hangs, and says nothing about how fast anything has to be: whatever makes progress may
//! go on. So nothing but [`limit`] decides in a test that something does not happen, and nobody waits for a time
//! instead of for what is to happen.
//!
//! `IVSHMEM_TIME_SCALE` in the environment is what it is multiplied with: a whole number from 1 on, for a kernel
//! or a machine that is slow.

use std::thread;
use std::time::{Duration, Instant};

/// The limit before scaling. The C programs in guests have the same (`TEST_SECONDS` in
/// `tools/tests/selftests/limit.h`); vmbench gives whatever runs in a guest twice as long, so that the program's own
/// limit, which knows what was waited for, passes first.
pub const LIMIT: Duration = Duration::from_secs(300);

/// The variable that makes all limits longer. Programs in guests know it too.
pub const SCALE_VARIABLE: &str = "IVSHMEM_TIME_SCALE";

/// Time without progress after which something counts as hung.
///
/// # Panics
///
/// Panics if [`SCALE_VARIABLE`] has a value that is none.
pub fn limit() -> Duration {
    LIMIT * scale().unwrap_or_else(|reason| panic!("{reason}"))
}

/// The [`limit`] as the argument of a program's `--timeout` that must not pass.
pub fn limit_argument() -> String {
    format!("{}s", limit().as_secs())
}

/// What all time limits are multiplied with; an error in words if the variable has a value that is none.
pub fn scale() -> Result<u32, String> {
    match std::env::var(SCALE_VARIABLE) {
        Ok(text) => parse(&text),
        Err(_) => Ok(1),
    }
}

fn parse(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(scale @ 1..) => Ok(scale),
        _ => Err(format!(
            "{SCALE_VARIABLE}={text} is not a whole number from 1 on"
        )),
    }
}

/// Blocks until `is_so` says so.
///
/// # Panics
///
/// Panics with `what`, the thing that is waited for, after the time [`limit`].
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    if watch(limit(), 1, || u64::from(is_so())).is_err() {
        panic!("waited {:?} in vain until {what}", limit());
    }
}

/// Blocks until `count` returns at least `target`, for any time as long as it grows.
///
/// # Panics
///
/// Panics with `what`, the thing that is counted, when it has not grown for the time [`limit`].
#[track_caller]
pub fn wait_for_count(what: &str, target: u64, count: impl FnMut() -> u64) {
    if let Err(reached) = watch(limit(), target, count) {
        panic!(
            "{what}: {reached} of {target}, and no more for {:?}",
            limit()
        );
    }
}

/// The count that was reached, as an error, if it stops growing before `target`.
fn watch(limit: Duration, target: u64, mut count: impl FnMut() -> u64) -> Result<(), u64> {
    let (mut reached, mut since) = (0, Instant::now());
    loop {
        let now = count();
        if now >= target {
            return Ok(());
        }
        if now > reached {
            (reached, since) = (now, Instant::now());
        } else if since.elapsed() > limit {
            return Err(reached);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn what_grows_is_waited_for_beyond_the_limit() {
        let begin = Instant::now();
        let milliseconds = || u64::try_from(begin.elapsed().as_millis()).unwrap();
        assert_eq!(watch(SHORT, 100, milliseconds), Ok(()));
        assert!(begin.elapsed() > SHORT);
    }

    #[test]
    fn what_stands_still_is_given_up() {
        let begin = Instant::now();
        assert_eq!(watch(SHORT, 8, || 7), Err(7));
        assert!(begin.elapsed() > SHORT);
    }

    #[test]
    fn a_scale_is_a_whole_number_from_1_on() {
        assert_eq!(parse("10"), Ok(10));
        for text in ["0", "-1", "1.5", "x", ""] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
