// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl dump`: copies shared memory out.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use ivshmem::{Access, Memory};
use serde_json::json;

use crate::end::End;
use crate::exit::{failure, Exit};
use crate::hex::HexDump;
use crate::output::{bytes, size, Output};
use crate::parse;

/// Bytes that are copied at a time.
const CHUNK: usize = 64 << 10;

/// Copy shared memory out: into a file, or as hexadecimal numbers
///
/// While others write, the copy may mix old and new bytes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl dump --length 256
  ivshmemctl dump --offset 1M --length 4K --output page.bin
  ivshmemctl dump --output - | sha256sum")]
pub struct Options {
    #[command(flatten)]
    end: End,

    /// First byte
    #[arg(short = 's', long, value_name = "OFFSET", default_value = "0", value_parser = parse::number)]
    offset: u64,

    /// Number of bytes, instead of all to the end
    #[arg(short = 'n', long, value_name = "BYTES", value_parser = parse::number)]
    length: Option<u64>,

    /// File for the bytes as they are; - is the standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Copies.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let memory = options.end.memory(Access::ReadOnly)?;
    let (offset, length) = (options.offset, length(options, memory.size())?);
    match &options.output {
        Some(path) if path == Path::new("-") => {
            let mut out = io::stdout().lock();
            copy(&*memory, offset, length, |_, bytes| out.write_all(bytes))?;
            out.flush()?;
        }
        Some(path) => {
            let what = || format!("cannot write {}", path.display());
            let mut file = File::create(path).with_context(what)?;
            copy(&*memory, offset, length, |_, bytes| file.write_all(bytes)).with_context(what)?;
            let answer = json!({ "offset": offset, "length": length, "file": path });
            output.answer(&answer, || {
                format!(
                    "{}: {} from offset {offset:#x} on",
                    path.display(),
                    size(length)
                )
            })?;
        }
        None if output.is_json() => {
            let mut hex = String::new();
            copy(&*memory, offset, length, |_, bytes| {
                hex.extend(bytes.iter().map(|byte| format!("{byte:02x}")));
                Ok(())
            })?;
            let answer = json!({ "offset": offset, "length": length, "hex": hex });
            output.answer(&answer, String::new)?;
        }
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            let mut dump = HexDump::default();
            copy(&*memory, offset, length, |at, bytes| {
                dump.write(&mut out, at, bytes)
            })?;
            dump.end(&mut out, offset + length)?;
            out.flush()?;
        }
    }
    Ok(Exit::Success)
}

fn length(options: &Options, whole: u64) -> Result<u64> {
    let rest = whole.checked_sub(options.offset).ok_or_else(|| {
        let message = format!(
            "offset {:#x} is beyond the end: the memory has {}",
            options.offset,
            size(whole)
        );
        failure(Exit::Unable, message)
    })?;
    match options.length {
        Some(length) if length > rest => Err(failure(
            Exit::Unable,
            format!(
                "offset {:#x} is followed by only {}: give a smaller --length",
                options.offset,
                bytes(rest)
            ),
        )),
        length => Ok(length.unwrap_or(rest)),
    }
}

fn copy(
    memory: &dyn Memory,
    offset: u64,
    length: u64,
    mut take: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut done = 0;
    while done < length {
        let some = usize::try_from(length - done).map_or(CHUNK, |left| left.min(CHUNK));
        memory.read(offset + done, &mut chunk[..some])?;
        take(offset + done, &chunk[..some])?;
        done += some as u64;
    }
    Ok(())
}
