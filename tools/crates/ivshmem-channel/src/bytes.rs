// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A ring buffer as a stream of bytes, for code that reads and writes by `std::io`.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use ivshmem::Link;

use crate::{Error, Receiver, Result, Sender};

/// A message has at most this part of the longest one, so that the reader takes one while the next is written.
const PIECE_PART: usize = 4;

/// Writes bytes into a ring buffer, for a [`ByteReader`] at the other end.
///
/// The reader sees what was written after a flush, or when the ring buffer is full. Who crashes may have written the last piece
/// or not; a successor goes on behind the pieces that are there.
#[derive(Debug)]
pub struct ByteWriter<L: Link + Clone> {
    sender: Sender<L>,
    timeout: Option<Duration>,
}

impl<L: Link + Clone> ByteWriter<L> {
    /// Writes into `sender`, and waits for room for `timeout` at most: then it is [`ErrorKind::TimedOut`]. `None` waits
    /// for ever.
    pub fn new(sender: Sender<L>, timeout: Option<Duration>) -> Self {
        Self { sender, timeout }
    }

    /// Tells the reader that this is the end: [`Read::read`] gives 0 there. What is written afterwards, by the sender
    /// that this returns, is the next stream.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`].
    pub fn finish(mut self) -> Result<Sender<L>> {
        self.sender.send(&[], self.timeout)?;
        Ok(self.sender)
    }
}

impl<L: Link + Clone> Write for ByteWriter<L> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An empty message is the end.
        if bytes.is_empty() {
            return Ok(0);
        }
        let most = (self.sender.longest() / PIECE_PART).max(1);
        let piece = &bytes[..bytes.len().min(most)];
        self.sender.queue(piece, self.timeout)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.sender.flush()?)
    }
}

/// Reads the bytes that a [`ByteWriter`] writes. A read of 0 bytes is the end that [`ByteWriter::finish`] sets; the next
/// read begins with the next stream.
///
/// If this program crashes, its successor begins with a piece that was not read to its end, or not given back yet.
#[derive(Debug)]
pub struct ByteReader<L: Link + Clone> {
    receiver: Receiver<L>,
    timeout: Option<Duration>,
    /// Bytes of the next message that were read.
    at: usize,
}

impl<L: Link + Clone> ByteReader<L> {
    /// Reads from `receiver`, and waits for `timeout` at most: then it is [`ErrorKind::TimedOut`]. `None` waits for ever.
    pub fn new(receiver: Receiver<L>, timeout: Option<Duration>) -> Self {
        Self {
            receiver,
            timeout,
            at: 0,
        }
    }
}

impl<L: Link + Clone> Read for ByteReader<L> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let Some(message) = self.receiver.next(self.timeout)? else {
            return Err(ErrorKind::TimedOut.into());
        };
        // By our own count it is not longer; a sender that changes the length meanwhile gets an error.
        let len = into.len().min(message.len().saturating_sub(self.at));
        message.read(self.at, &mut into[..len])?;
        self.at += len;
        if self.at >= message.len() {
            self.at = 0;
            message.done()?;
        }
        Ok(len)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::TimedOut => ErrorKind::TimedOut,
            Error::Link(ivshmem::Error::Gone) | Error::Reset | Error::Replaced => {
                ErrorKind::BrokenPipe
            }
            Error::Corrupt(_) | Error::CorruptLane { .. } => ErrorKind::InvalidData,
            // Not `Interrupted`, after which std's loops try again.
            _ => ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
