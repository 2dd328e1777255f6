// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl`: looks at ivshmem devices, rings them, and copies their memory.
//!
//! A subcommand is a module of [`command`] with its options, its help and its `run`. What they share: which
//! end of the memory is meant ([`end`]), how two endpoints talk ([`seat`]) and how many do ([`mesh`]), how answers are
//! written ([`output`]), how failures are ([`exit`]).

mod claim;
mod cli;
mod command;
mod completion;
mod counters;
mod end;
mod exit;
mod fullscreen;
mod hex;
mod manual;
mod mesh;
mod news;
mod output;
mod parse;
mod queue;
mod sampling;
mod seat;
mod signals;
mod socket;

use std::process::ExitCode;

use cli::Cli;

fn main() -> ExitCode {
    completion::answer(cli::program);
    let cli = Cli::parse_program();
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(error) => exit::report(&error, cli.json),
    }
}
