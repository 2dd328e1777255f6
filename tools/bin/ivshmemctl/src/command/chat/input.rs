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
    let mut rest = Vec::new();
    while let Some(line) = next_line(&mut stdin, longest, &mut rest).transpose() {
        let failed = line.is_err();
        if lines.send(line).is_err() || failed {
            return;
        }
    }
}

/// The next line, without its end, or the next part of one that is longer than `longest` bytes; `None` at the end. What is read
/// of a character that does not fit is left in `rest`, with which the next part begins.
fn next_line(
    source: &mut impl BufRead,
    longest: usize,
    rest: &mut Vec<u8>,
) -> io::Result<Option<Vec<u8>>> {
    let mut line = std::mem::take(rest);
    // CAST: usize has 64 bits.
    let room = (longest - line.len()) as u64;
    source.by_ref().take(room).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() == longest {
        match source.fill_buf()?.first() {
            Some(b'\n') => source.consume(1),
            _ => *rest = line.split_off(whole(&line)),
        }
    }
    Ok(Some(line))
}

/// Bytes before a character of UTF-8 of which only the beginning is there.
fn whole(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut text: &[u8]) -> Vec<Vec<u8>> {
        let mut rest = Vec::new();
        let next = || next_line(&mut text, 8, &mut rest).unwrap();
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_line_is_cut_after_its_longest_part() {
        let cut: [(&[u8], &[&[u8]]); 8] = [
            (b"", &[]),
            (b"\n", &[b""]),
            (b"a\nb", &[b"a", b"b"]),
            (b"12345678\n\n9", &[b"12345678", b"", b"9"]),
            (b"12345678", &[b"12345678"]),
            (b"123456789\n", &[b"12345678", b"9"]),
            ("1234567\u{e4}\n".as_bytes(), &[b"1234567", b"\xc3\xa4"]),
            // What is no text is cut anywhere, and the beginning of a character may be the end.
            (b"\xff123456\xe2\x82", &[b"\xff123456\xe2", b"\x82"]),
        ];
        for (text, expected) in cut {
            assert_eq!(lines(text), expected, "{text:?}");
        }
        assert_eq!(lines(b"1234567\xc3"), [&b"1234567"[..], b"\xc3"]);
    }
}
