// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Lines from the standard input, read by a thread of their own: nobody can wait for them and for a ring at a time.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender, TryRecvError};
use std::thread;

use anyhow::{Context, Result};

/// Lines that may wait here.
const AHEAD: usize = 64;

/// What is to be sent.
pub struct Input {
    lines: Option<Receiver<io::Result<Vec<u8>>>>,
    /// The line that was not sent yet.
    next: Option<Vec<u8>>,
}

impl Input {
    /// Reads the standard input. Longer lines are cut after `longest` bytes, and go on in the next one.
    pub fn stdin(longest: usize) -> Self {
        let (sender, lines) = sync_channel(AHEAD);
        thread::spawn(move || read(longest, &sender));
        Self {
            lines: Some(lines),
            next: None,
        }
    }

    /// Nothing to send.
    pub fn none() -> Self {
        Self {
            lines: None,
            next: None,
        }
    }

    /// The next line, if there is one now; the same again until it is [done](Self::done).
    pub fn next(&mut self) -> Result<Option<&[u8]>> {
        if let (None, Some(lines)) = (&self.next, &self.lines) {
            match lines.try_recv() {
                Ok(line) => self.next = Some(line.context("cannot read the standard input")?),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.lines = None,
            }
        }
        Ok(self.next.as_deref())
    }

    /// Goes on after the line.
    pub fn done(&mut self) {
        self.next = None;
    }

    /// Whether all lines were sent and no more will come.
    pub fn is_over(&self) -> bool {
        self.lines.is_none() && self.next.is_none()
    }
}

fn read(longest: usize, lines: &SyncSender<io::Result<Vec<u8>>>) {
    let mut stdin = io::stdin().lock();
    loop {
        let mut line = Vec::new();
        // CAST: usize has 64 bits.
        let read = stdin
            .by_ref()
            .take(longest as u64)
            .read_until(b'\n', &mut line);
        if matches!(read, Ok(0)) {
            return;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        let failed = read.is_err();
        if lines.send(read.map(|_| line)).is_err() || failed {
            return;
        }
    }
}
