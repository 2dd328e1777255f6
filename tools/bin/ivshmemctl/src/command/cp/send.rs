// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The sending end of a copy.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ivshmem_channel::{Error, Receiver, Sender};

use super::copied::{bar, checksum, Copied};
use super::note::{decode, piece_header, Message, Note, HEADER, RECEIVER};
use crate::end::AnyLink;
use crate::exit::{failure, Exit};
use crate::seat::Seat;

/// Bytes of the file in a message: some fit into the ring at a time.
const PIECE: usize = 32 << 10;

/// How long a full ring may keep us from looking for what the receiver says.
const LOOK: Duration = Duration::from_millis(200);

struct Sending<'a> {
    file: &'a File,
    offer: Note,
    run: u32,
    size: u64,
    to: Sender<AnyLink>,
    from: Receiver<AnyLink>,
    /// Whether the receiver has to be told of the file, once more.
    to_offer: bool,
    /// What comes next; `None` until the receiver has said it.
    next: Option<u64>,
    /// Whether the receiver knows that this is all.
    ended: bool,
    /// Where the receiver began the first time.
    began: Option<u64>,
}

/// Sends a file, and returns when the receiver has all of it.
pub fn run(seat: &Seat, path: &Path, timeout: Option<Duration>) -> Result<Copied> {
    let what = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(what)?;
    // As many bytes as were read: what a file tells of itself may be 0, as in /proc, or change meanwhile.
    let (sha256, size) = checksum(&file).with_context(what)?;
    let name = path.file_name().with_context(what)?.to_string_lossy();
    let run = seat.incarnation();
    let offer = Note::Offer {
        run,
        size,
        sha256: sha256.clone(),
        name: name.into_owned(),
    };
    let mut sending = Sending {
        file: &file,
        offer,
        run,
        size,
        to: seat.sender(RECEIVER)?,
        from: seat.receiver(RECEIVER)?,
        to_offer: true,
        next: None,
        ended: false,
        began: None,
    };
    sending
        .run(timeout)
        .with_context(|| format!("cannot send {}", path.display()))?;
    Ok(Copied {
        path: path.into(),
        size,
        from: sending.began.unwrap_or(0),
        sha256,
    })
}

impl Sending<'_> {
    fn run(&mut self, timeout: Option<Duration>) -> Result<()> {
        let bar = bar(self.size);
        let mut message = Vec::new();
        let mut moved = Instant::now();
        loop {
            let wait = if self.has_more() {
                Duration::ZERO
            } else {
                LOOK
            };
            if self.from.receive(&mut message, Some(wait))? {
                if let Some(Message::Note(note)) = decode(&message) {
                    moved = Instant::now();
                    if self.hear(note)? {
                        bar.finish_and_clear();
                        return Ok(());
                    }
                }
            } else if self.step()? {
                moved = Instant::now();
                bar.set_position(self.next.unwrap_or(0));
            } else if timeout.is_some_and(|limit| moved.elapsed() >= limit) {
                let message = "the receiver takes nothing: does `ivshmemctl cp --receive` run there, with the same \
                               --offset?";
                return Err(failure(Exit::TimedOut, message));
            }
        }
    }

    fn has_more(&self) -> bool {
        self.to_offer || (self.next.is_some() && !self.ended)
    }

    /// Takes what the receiver said; true if it has everything.
    fn hear(&mut self, note: Note) -> Result<bool> {
        match note {
            Note::Ready => {
                self.next = None;
                self.to_offer = true;
            }
            Note::Resume { run, offset } if run == self.run && offset <= self.size => {
                self.next = Some(offset);
                self.ended = false;
                self.began.get_or_insert(offset);
            }
            Note::Done { run } if run == self.run => return Ok(true),
            Note::Damaged { run } if run == self.run => {
                let message = "it arrived damaged: did the file, or somebody else the memory, change meanwhile? \
                               Send it again";
                return Err(failure(Exit::Wrong, message));
            }
            _ => {}
        }
        Ok(false)
    }

    /// Sends the offer, one piece or the end; false if there was nothing to send, or no room.
    fn step(&mut self) -> Result<bool> {
        if self.to_offer {
            let sent = self.say(&self.offer.clone())?;
            self.to_offer = !sent;
            return Ok(sent);
        }
        let Some(next) = self.next.filter(|_| !self.ended) else {
            return Ok(false);
        };
        if next == self.size {
            self.ended = self.say(&Note::End { run: self.run })?;
            return Ok(self.ended);
        }
        let mut message = piece_header(self.run, next);
        let left = usize::try_from(self.size - next).unwrap_or(PIECE);
        message.resize(HEADER + left.min(PIECE), 0);
        self.file
            .read_exact_at(&mut message[HEADER..], next)
            .context("the file became shorter meanwhile")?;
        let sent = self.send(&message)?;
        if sent {
            self.next = Some(next + (message.len() - HEADER) as u64);
        }
        Ok(sent)
    }

    fn say(&mut self, note: &Note) -> Result<bool> {
        self.send(&note.encode())
    }

    /// False if there was no room for some time: the receiver may have to start again first, and says so then.
    fn send(&mut self, message: &[u8]) -> Result<bool> {
        match self.to.send(message, Some(LOOK)) {
            Ok(()) => Ok(true),
            Err(Error::TimedOut) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
