// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The receiving end of a copy.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use ivshmem_channel::Sender;
use rustix::fs::OFlags;

use super::copied::{bar, checksum, Copied};
use super::note::{decode, Message, Note, SENDER};
use crate::end::AnyLink;
use crate::exit::{failure, Exit};
use crate::output::complain;
use crate::seat::Seat;

/// A file that is on its way.
struct Incoming {
    run: u32,
    size: u64,
    sha256: String,
    target: PathBuf,
    /// Holds what has come so far, under a name that tells which contents it is a part of.
    part: PathBuf,
    file: File,
    began: u64,
    next: u64,
    bar: ProgressBar,
}

/// Receives a file into a directory.
pub fn run(seat: &Seat, directory: &Path, timeout: Option<Duration>) -> Result<Copied> {
    let mut from = seat.receiver(SENDER)?;
    let mut to = seat.sender(SENDER)?;
    let mut incoming = None;
    let mut message = Vec::new();
    say(&mut to, &Note::Ready)?;
    loop {
        if !from.receive(&mut message, timeout)? {
            let message = "nothing comes: does `ivshmemctl cp FILE` run at the other endpoint, with the same --offset?";
            return Err(failure(Exit::TimedOut, message));
        }
        match decode(&message) {
            Some(Message::Note(Note::Offer {
                run,
                size,
                sha256,
                name,
            })) => {
                // It is made again, and so is what we say to it, when both endpoints have begun at the same time.
                let mut file = incoming.take();
                if file.as_ref().is_none_or(|file: &Incoming| file.run != run) {
                    // The old one's bar is cleared before there is another one.
                    let before = file.inspect(|file| file.bar.finish_and_clear());
                    let next = Incoming::open(directory, run, size, sha256, &name)?;
                    before.inspect(|before| before.yield_to(&next));
                    file = Some(next);
                }
                let offset = file.as_ref().map_or(0, |file| file.next);
                incoming = file;
                say(&mut to, &Note::Resume { run, offset })?;
            }
            Some(Message::Piece { run, offset, bytes }) => {
                if let Some(file) = incoming.as_mut().filter(|file| file.run == run) {
                    file.take(offset, bytes)?;
                }
            }
            Some(Message::Note(Note::End { run })) => {
                let Some(mut file) = incoming.take_if(|file| file.run == run) else {
                    continue;
                };
                if file.next != file.size {
                    let offset = file.next;
                    incoming = Some(file);
                    say(&mut to, &Note::Resume { run, offset })?;
                    continue;
                }
                if !file.is_right()? {
                    let damaged = file.damaged()?;
                    tell(&mut to, &Note::Damaged { run });
                    return Err(damaged);
                }
                // If that fails, the sender waits for who receives it again, as always when a receiver fails.
                let copied = file.finish()?;
                tell(&mut to, &Note::Done { run });
                return Ok(copied);
            }
            _ => {}
        }
    }
}

/// Says what became of a file, which is so whether the sender gets to know it or not.
fn tell(to: &mut Sender<AnyLink>, note: &Note) {
    if let Err(error) = say(to, note) {
        complain(&format!(
            "* the sender was not told what became of it: {error:#}"
        ));
    }
}

fn say(to: &mut Sender<AnyLink>, note: &Note) -> Result<()> {
    // The sender reads whatever it does, and notes are few: the ring has room, or the sender is gone for good.
    const PATIENCE: Duration = Duration::from_secs(60);
    Ok(to.send(&note.encode(), Some(PATIENCE))?)
}

impl Incoming {
    /// Opens what an earlier attempt has left, or nothing.
    fn open(directory: &Path, run: u32, size: u64, sha256: String, name: &str) -> Result<Self> {
        // The name comes from another guest: it must not lead out of the directory, nor steer the terminal that shows it, nor be
        // one that programs read by themselves, such as a shell's.
        let name = match Path::new(name).file_name() {
            Some(file)
                if file == name && !name.contains(char::is_control) && !name.starts_with('.') =>
            {
                name
            }
            _ => {
                return Err(failure(
                    Exit::Wrong,
                    format!("the sender offers {name:?}, which is hidden, or not a file name"),
                ))
            }
        };
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(failure(Exit::Wrong, "the sender does not offer a SHA-256"));
        }
        let part = directory.join(format!(".{name}.{}.part", &sha256[..16]));
        let what = || format!("cannot write {}", part.display());
        let mut open = File::options();
        let mut file = open
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            // In a directory that others can write to, it may be a link to what is none of theirs.
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(&part)
            .with_context(what)?;
        let began = file.metadata().with_context(what)?.len().min(size);
        file.set_len(began).with_context(what)?;
        file.seek(SeekFrom::End(0)).with_context(what)?;
        let bar = bar(size);
        bar.set_position(began);
        Ok(Self {
            run,
            size,
            sha256,
            target: directory.join(name),
            file,
            began,
            next: began,
            bar,
            part,
        })
    }

    /// Goes, as another file is offered. What has come of it is kept, since it may be offered again; but not if that is nothing, or
    /// the other one has its name: then it has changed.
    fn yield_to(&self, next: &Self) {
        let of_use = self.next > 0 && self.target != next.target;
        if self.part != next.part && !of_use {
            // It may be gone.
            let _ = fs::remove_file(&self.part);
        }
    }

    /// Writes a piece, if it is the next one: others were on their way before we said where we are.
    fn take(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        if offset != self.next || bytes.len() as u64 > self.size - self.next {
            return Ok(());
        }
        self.file
            .write_all(bytes)
            .with_context(|| format!("cannot write {}", self.part.display()))?;
        self.next += bytes.len() as u64;
        self.bar.set_position(self.next);
        Ok(())
    }

    /// Looks whether it is the file that was offered.
    fn is_right(&mut self) -> Result<bool> {
        let what = || format!("cannot write {}", self.part.display());
        self.bar.finish_and_clear();
        self.file.sync_all().with_context(what)?;
        self.file.seek(SeekFrom::Start(0)).with_context(what)?;
        let (sha256, _) = checksum(&self.file).with_context(what)?;
        Ok(sha256 == self.sha256)
    }

    /// Removes what is not: the error to end with.
    fn damaged(self) -> Result<anyhow::Error> {
        let what = || format!("cannot remove {}", self.part.display());
        fs::remove_file(&self.part).with_context(what)?;
        let message = "it arrived damaged and was removed: did the file, or somebody else the memory, change \
                       meanwhile? Send it again";
        Ok(failure(Exit::Wrong, message))
    }

    /// Gives it its name.
    fn finish(self) -> Result<Copied> {
        let what = || format!("cannot write {}", self.target.display());
        fs::rename(&self.part, &self.target).with_context(what)?;
        Ok(Copied {
            path: self.target,
            size: self.size,
            from: self.began,
            sha256: self.sha256,
        })
    }
}
