// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The log: lines on the standard error, by which no client can stop the server or fill a disk.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that can be written at once, after a while without.
const BURST: f64 = 1000.0;

/// Lines in a second, in the long run.
const RATE: f64 = 20.0;

/// Writes a line at a time, unless whoever reads the log does not keep up. Clients cause lines when
/// they come and go; those are left out when there are too many. Errors are not.
#[derive(Debug)]
pub struct Log(Mutex<Budget>);

/// How many lines can be written now.
#[derive(Debug)]
struct Budget {
    lines: f64,
    since: Instant,
    left_out: u64,
}

/// One line of the log.
#[derive(Debug)]
pub struct Line<'log> {
    log: &'log Log,
    always: bool,
}

impl Log {
    pub fn new() -> Self {
        Self(Mutex::new(Budget {
            lines: BURST,
            since: Instant::now(),
            left_out: 0,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Budget> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Budget {
    /// Whether a line can be written now; if so, how many were left out before.
    fn take(&mut self, now: Instant, always: bool) -> Option<u64> {
        let gained = now.duration_since(self.since).as_secs_f64() * RATE;
        self.since = now;
        self.lines = (self.lines + gained).min(BURST);
        if always {
            return Some(0);
        }
        // Room for what says that lines were left out, and something after it.
        let needed = if self.left_out == 0 { 1.0 } else { RATE };
        if self.lines < needed {
            self.left_out += 1;
            return None;
        }
        self.lines -= 1.0;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl<'log> MakeWriter<'log> for Log {
    type Writer = Line<'log>;

    fn make_writer(&'log self) -> Line<'log> {
        Line {
            log: self,
            always: false,
        }
    }

    fn make_writer_for(&'log self, metadata: &Metadata<'_>) -> Line<'log> {
        Line {
            log: self,
            always: *metadata.level() == Level::ERROR,
        }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let left_out = self.log.lock().take(Instant::now(), self.always);
        if let Some(left_out) = left_out {
            if left_out > 0 {
                print(format!("{left_out} lines of the log were left out\n").as_bytes());
            }
            print(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to the standard error, if that does not take waiting for anybody. Does nothing otherwise,
/// nor if nobody is there to read it.
pub fn print(text: &[u8]) {
    let mut error = io::stderr().lock();
    // A pipe that is ready has room for a page, so for a line.
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let mut fds = [PollFd::new(&error, PollFlags::OUT)];
        let ready = poll(&mut fds, Some(&Timespec::default()));
        let ready = ready.is_ok() && fds[0].revents().contains(PollFlags::OUT);
        if !ready || error.write_all(line).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines_in_a_burst_and_in_the_long_run() {
        let start = Instant::now();
        let Log(budget) = Log::new();
        let mut budget = budget.into_inner().unwrap();
        let mut written = 0;
        let mut reported = 0;
        for millisecond in 0..100_000 {
            let now = start + Duration::from_millis(millisecond);
            if let Some(left_out) = budget.take(now, false) {
                written += 1;
                reported += left_out;
            }
            assert_eq!(budget.take(now, true), Some(0));
        }
        assert!((2500..3100).contains(&written), "{written}");
        assert_eq!(written + reported + budget.left_out, 100_000);
    }
}
