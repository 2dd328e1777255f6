// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl load`: copies a file into the shared memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use ivshmem::{Access, Memory};
use serde_json::json;

use crate::end::End;
use crate::exit::{failure, Exit};
use crate::output::{bytes, size, Output};
use crate::parse;

/// Bytes that are copied at a time.
const CHUNK: usize = 64 << 10;

/// Copy a file into the shared memory
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl load picture.raw
  ivshmemctl load --offset 1M page.bin
  head -c 4K /dev/urandom | ivshmemctl load -")]
pub struct Options {
    #[command(flatten)]
    end: End,

    /// The file; - is the standard input
    file: PathBuf,

    /// Byte at which to begin
    #[arg(short = 's', long, value_name = "OFFSET", default_value = "0", value_parser = parse::number)]
    offset: u64,
}

/// Copies.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let path = options.file.as_path();
    let what = || format!("cannot read {}", path.display());
    let memory = options.end.memory(Access::ReadWrite)?;
    let room = memory.size().saturating_sub(options.offset);
    let mut source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).with_context(what)?;
        let metadata = file.metadata().with_context(what)?;
        // Said before anything is overwritten. What is no file says its length only by ending.
        if metadata.is_file() && metadata.len() > room {
            return Err(too_long(path, room));
        }
        Box::new(file)
    };
    let mut chunk = vec![0; CHUNK];
    let mut done = 0;
    loop {
        let some = source.read(&mut chunk).with_context(what)?;
        if some == 0 {
            break;
        }
        if some as u64 > room - done {
            return Err(too_long(path, room));
        }
        memory.write(options.offset + done, &chunk[..some])?;
        done += some as u64;
    }
    if done == 0 {
        let text = format!("{} is empty: nothing was written", path.display());
        return Err(failure(Exit::Failure, text));
    }
    let answer = json!({ "offset": options.offset, "length": done });
    output.answer(&answer, || {
        format!("{} at offset {:#x}", size(done), options.offset)
    })?;
    Ok(Exit::Success)
}

fn too_long(path: &Path, room: u64) -> anyhow::Error {
    let path = path.display();
    failure(
        Exit::Unable,
        format!(
            "{path} is longer than the {} from --offset to the end of the memory",
            bytes(room)
        ),
    )
}
