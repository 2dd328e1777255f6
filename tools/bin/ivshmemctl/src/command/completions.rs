// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl completions`: what makes a shell complete the options.

use anyhow::Result;
use clap::{Args, Command};
use clap_complete::Shell;
use serde_json::json;

use crate::exit::Exit;
use crate::output::Output;

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

/// Prints it, for the command line `program`.
pub fn run(options: &Options, mut program: Command, output: Output) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut program, "ivshmemctl", &mut script);
    let script = String::from_utf8(script)?;
    let answer = json!({ "shell": options.shell.to_string(), "script": script });
    output.answer(&answer, || script)?;
    Ok(Exit::Success)
}
