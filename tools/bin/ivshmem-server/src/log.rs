// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The log: lines on the standard error, by which no client can stop the server or fill a disk.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ivshmem_server::{Bucket, REFUSALS};
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Lines that can be written at once, after a while without.
const BURST: f64 = 1000.0;

/// Lines in a second, in the long run.
const RATE: f64 = 20.0;

/// Writes a line at a time, unless whoever reads the log does not keep up. Clients cause lines when
/// they come and go; those are left out when there are too many, and so are, by themselves, those about
/// clients that are refused. Errors are not.
#[derive(Debug)]
pub struct Log {
    usual: Mutex<Budget>,
    refusals: Mutex<Budget>,
}

/// How many lines can be written now.
#[derive(Debug)]
struct Budget {
    lines: Bucket,
    left_out: u64,
}

/// One line of the log.
#[derive(Debug)]
pub struct Line<'log> {
    budget: &'log Mutex<Budget>,
    always: bool,
}

impl Log {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            usual: Mutex::new(Budget::new(now)),
            refusals: Mutex::new(Budget::new(now)),
        }
    }
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            lines: Bucket::new(BURST, RATE, now),
            left_out: 0,
        }
    }

    /// Whether a line can be written now; if so, how many were left out before.
    fn take(&mut self, now: Instant) -> Option<u64> {
        // Room for what says that lines were left out, and something after it.
        let needed = if self.left_out == 0 { 1.0 } else { RATE };
        if !self.lines.take(now, needed) {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}

impl<'log> MakeWriter<'log> for Log {
    type Writer = Line<'log>;

    fn make_writer(&'log self) -> Line<'log> {
        Line {
            budget: &self.usual,
            always: false,
        }
    }

    fn make_writer_for(&'log self, metadata: &Metadata<'_>) -> Line<'log> {
        let refusal = metadata.target() == REFUSALS;
        Line {
            budget: if refusal { &self.refusals } else { &self.usual },
            always: *metadata.level() == Level::ERROR,
        }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = if self.always {
            Some(0)
        } else {
            budget.take(Instant::now())
        };
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
        let mut budget = Budget::new(start);
        let mut written = 0;
        let mut reported = 0;
        for millisecond in 0..100_000 {
            let now = start + Duration::from_millis(millisecond);
            if let Some(left_out) = budget.take(now) {
                written += 1;
                reported += left_out;
            }
        }
        assert!((2500..3100).contains(&written), "{written}");
        assert_eq!(written + reported + budget.left_out, 100_000);
    }
}
