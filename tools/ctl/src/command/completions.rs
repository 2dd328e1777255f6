// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl completions`: what makes a shell complete the options.

use std::io::{self, Write};

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Exit;

/// Print a file that makes a shell complete commands and options
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl completions bash >/etc/bash_completion.d/ivshmemctl
  ivshmemctl completions zsh >/usr/local/share/zsh/site-functions/_ivshmemctl")]
pub struct Options {
    /// The shell
    shell: Shell,
}

/// Prints it.
pub fn run(options: &Options) -> Result<Exit> {
    let mut file = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "ivshmemctl", &mut file);
    io::stdout().write_all(&file)?;
    Ok(Exit::Success)
}
