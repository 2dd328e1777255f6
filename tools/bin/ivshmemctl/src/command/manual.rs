// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl manual`: writes the manual pages.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Command};
use serde_json::json;

use crate::exit::Exit;
use crate::manual::pages;
use crate::output::Output;

/// Write the manual pages, one for the program and one for each command
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl manual man && man man/ivshmemctl-ring.1")]
pub struct Options {
    /// Directory for them, which is made if it is not there
    directory: PathBuf,
}

/// Writes them, for the command line `program`.
pub fn run(options: &Options, program: Command, output: Output) -> Result<Exit> {
    let mut written = Vec::new();
    let directory = &options.directory;
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    for (name, text) in pages(program)? {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path);
    }
    output.answer(&json!({ "pages": written }), String::new)?;
    Ok(Exit::Success)
}
