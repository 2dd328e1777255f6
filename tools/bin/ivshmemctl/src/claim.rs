// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A part of the memory that a command writes to: it must be free, or the same command's from before.

use std::sync::atomic::Ordering;

use anyhow::Result;
use clap::Args;
use ivshmem::Memory;

use crate::exit::{failure, Exit};
use crate::parse;

/// Where in the part the mark is that tells whose it is.
pub const MARK: u64 = 8;

/// Bytes that are looked at at a time.
const CHUNK: usize = 4096;

/// The options that say which part is used.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// First byte of the memory that is used; the same at both ends
    #[arg(short = 's', long, value_name = "OFFSET", value_parser = parse::number)]
    offset: Option<u64>,

    /// Use the memory whatever is there
    #[arg(long)]
    anew: bool,
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
        if memory.load32(marked, Ordering::Acquire)? == mark {
            return Ok(at);
        }
        if !is_zero(memory, at, length)? {
            if !self.anew {
                return Err(in_use(at, length));
            }
            fill(memory, at, length)?;
        }
        memory.store32(marked, mark, Ordering::Release)?;
        Ok(at)
    }
}

fn in_use(at: u64, length: u64) -> anyhow::Error {
    failure(
        Exit::Failure,
        format!(
            "the {length} bytes at offset {at:#x} are in use by something else: give both ends another --offset, or \
             this one --anew to write over them"
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

fn is_zero(memory: &dyn Memory, at: u64, length: u64) -> Result<bool> {
    let mut bytes = [0; CHUNK];
    for (begin, size) in chunks(at, length) {
        memory.read(begin, &mut bytes[..size])?;
        if bytes[..size].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn fill(memory: &dyn Memory, at: u64, length: u64) -> Result<()> {
    for (begin, size) in chunks(at, length) {
        memory.write(begin, &[0; CHUNK][..size])?;
    }
    Ok(())
}
