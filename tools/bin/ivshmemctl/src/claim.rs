// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A part of the memory that a command writes to: it must be free, which is zero, or the same command's from before. For those
//! that talk through a channel it may also be any channel, which is then asked for its layout.

use std::sync::atomic::Ordering;

use anyhow::Result;
use clap::Args;
use ivshmem::{AccessError, Link, Memory};
use ivshmem_channel::{Channel, Error, Invalid};

use crate::exit::{failure, Exit};
use crate::output::size;
use crate::parse;

/// Where in the part the mark is that tells whose it is.
pub const MARK: u64 = 8;

/// Bytes that are looked at at a time.
const CHUNK: usize = 4096;

/// The options that say which part is used.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// First byte of the memory that is used; the same at both endpoints
    #[arg(short = 's', long, value_name = "OFFSET", value_parser = parse::number)]
    offset: Option<u64>,

    /// Overwrite whatever is in that memory
    #[arg(long)]
    overwrite: bool,
}

impl Place {
    /// Takes `length` bytes, and marks them as those of the command `mark`. Without --offset they end
    /// `from_end` bytes before the end of the memory: programs begin at its beginning.
    ///
    /// # Errors
    ///
    /// If something is there that is not this command's, or the part is outside of the memory.
    pub fn claim(&self, memory: &dyn Memory, length: u64, from_end: u64, mark: u32) -> Result<u64> {
        let default = memory.size().saturating_sub(length + from_end);
        let at = self.offset.unwrap_or(default);
        let marked = at.saturating_add(MARK);
        let is_ours = || Ok(memory.load32(marked, Ordering::Acquire)? == mark);
        match others(memory, at, length, is_ours)? {
            None => {}
            Some(_) if self.overwrite => fill(memory, at, length)?,
            Some(found) => return Err(in_use(at, length, found)),
        }
        memory.store32(marked, mark, Ordering::Release)?;
        Ok(at)
    }
}

/// Refuses to make a channel of `length` bytes at `at` over what is neither zero nor a channel.
///
/// # Errors
///
/// If something else is there, no channel can begin there, or this memory cannot have one, whatever is there.
pub fn for_channel<L: Link + Clone>(link: &L, at: u64, length: u64) -> Result<()> {
    if !link.can_exchange() {
        return Err(Error::NotWriteBack.into());
    }
    let is_channel = || match Channel::open(link.clone(), at) {
        // Somebody makes it.
        Ok(_) | Err(Error::NotAChannel(Invalid::Unfinished)) => Ok(true),
        Err(Error::NotAChannel(_)) => Ok(false),
        Err(error) => Err(error.into()),
    };
    match others(link, at, length, is_channel)? {
        None => Ok(()),
        Some(found) => Err(in_use(at, length, found)),
    }
}

/// Where the first of these bytes is that is not zero, unless they are ours.
fn others(
    memory: &(impl Memory + ?Sized),
    at: u64,
    length: u64,
    is_ours: impl Fn() -> Result<bool>,
) -> Result<Option<u64>> {
    if is_ours()? {
        return Ok(None);
    }
    // As the channel's error, so that a device that is gone can be told from others.
    let found = first_used(memory, at, length).map_err(Error::from)?;
    // Once more if something is there: another endpoint may have begun to write since.
    match found.is_some() && is_ours()? {
        true => Ok(None),
        false => Ok(found),
    }
}

fn in_use(at: u64, length: u64, found: u64) -> anyhow::Error {
    failure(
        Exit::Failure,
        format!(
            "the {} of memory at offset {at:#x} are in use, or still hold what an earlier program wrote \
             (the byte at {found:#x}, for example): use another --offset at all endpoints, or --overwrite at this one",
            size(length)
        ),
    )
}

fn chunks(at: u64, length: u64) -> impl Iterator<Item = (u64, usize)> {
    // CAST: At most CHUNK.
    let size = move |begin: u64| (length - begin).min(CHUNK as u64) as usize;
    (0..length)
        .step_by(CHUNK)
        .map(move |begin| (at.saturating_add(begin), size(begin)))
}

/// Where the first byte is that is not zero.
fn first_used(
    memory: &(impl Memory + ?Sized),
    at: u64,
    length: u64,
) -> Result<Option<u64>, AccessError> {
    let mut bytes = [0; CHUNK];
    for (begin, size) in chunks(at, length) {
        memory.read(begin, &mut bytes[..size])?;
        if let Some(place) = bytes[..size].iter().position(|byte| *byte != 0) {
            return Ok(Some(begin + place as u64));
        }
    }
    Ok(None)
}

fn fill(memory: &dyn Memory, at: u64, length: u64) -> Result<()> {
    for (begin, size) in chunks(at, length) {
        memory.write(begin, &[0; CHUNK][..size])?;
    }
    Ok(())
}
