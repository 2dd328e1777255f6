// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl cp`: a file from one guest to another, through a channel.

mod copied;
mod note;
mod receive;
mod send;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::exit::{failure, Exit};
use crate::output::{complain, Output};
use crate::parse;
use crate::seat::{Busy, Table};
use copied::size;
use note::{RECEIVER, SENDER};

/// Copy a file to another guest, where `cp --receive` runs
///
/// Either endpoint can be stopped and started again: the receiver keeps what it has in a hidden file beside the target,
/// and goes on from there. The SHA-256 of the whole file decides whether it arrived. Both endpoints use 513 KiB
/// of the memory at --offset, and nobody else may write there meanwhile.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl cp --receive /srv/incoming
  ivshmemctl cp picture.raw
  ivshmemctl cp --join /tmp/ivshmem.sock --timeout 60 disk.img")]
pub struct Options {
    #[command(flatten)]
    table: Table,

    /// The file to send; with --receive the directory for it, . if none is given
    #[arg(required_unless_present = "receive")]
    path: Option<PathBuf>,

    /// Receive a file, under the name that it has at the sender
    #[arg(short, long)]
    receive: bool,

    /// Give up when nothing has moved for this long; exit code 5
    #[arg(short, long, value_name = "TIME", value_parser = parse::duration)]
    timeout: Option<Duration>,
}

/// Looks whether the file can be read, or the directory is one, before anything is done with the memory.
fn check(options: &Options, path: &Path) -> Result<()> {
    let shown = path.display();
    if !options.receive {
        File::open(path).with_context(|| format!("cannot read {shown}"))?;
        return Ok(());
    }
    let found = fs::metadata(path).with_context(|| format!("cannot receive into {shown}"))?;
    match found.is_dir() {
        true => Ok(()),
        false => Err(failure(
            Exit::Failure,
            format!("cannot receive into {shown}: it is not a directory"),
        )),
    }
}

/// Sends or receives.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let path = options.path.clone().unwrap_or_else(|| ".".into());
    check(options, &path)?;
    let slot = if options.receive { RECEIVER } else { SENDER };
    let busy = Busy {
        limit: options.timeout,
        reason: match options.receive {
            true => "somebody receives already",
            false => "somebody sends already",
        },
        tell: &|| {
            complain("* waiting: another endpoint of this kind is there, or was until a moment ago")
        },
    };
    let copied = options
        .table
        .sit(&[slot], &busy, |seat| match options.receive {
            true => receive::run(seat, &path, options.timeout),
            false => send::run(seat, &path, options.timeout),
        })?;
    let answer = json!({
        "path": copied.path, "size": copied.size, "from": copied.from, "sha256": copied.sha256,
    });
    output.answer(&answer, || {
        let path = copied.path.display();
        format!("{path}: {}, SHA-256 {}", size(copied.size), copied.sha256)
    })?;
    Ok(Exit::Success)
}
