// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl completions`: what makes a shell complete the options.

use anyhow::{Context, Result};
use clap::Args;
use clap_complete::Shell;
use serde_json::json;

use crate::completion::script;
use crate::exit::Exit;
use crate::output::Output;

/// Print a completion script for a shell: commands, options, devices and sockets
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
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let script = script(&options.shell.to_string(), "ivshmemctl")?;
    let script = String::from_utf8(script.context("a shell that is not known")?)?;
    let answer = json!({ "shell": options.shell.to_string(), "script": script });
    output.answer(&answer, || script)?;
    Ok(Exit::Success)
}
