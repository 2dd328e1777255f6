// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Carries topics of ivshmem channels from host to host, over Zenoh.
//!
//! A peer of the guests of this host reads topics of their channels and publishes the values under keys of Zenoh, and
//! writes what it hears there into other topics. `Documentation/bridge.rst` has more.

mod answers;
mod bridge;
mod carrier;
mod cli;
mod config;
mod counters;
mod ending;
mod incoming;
mod man;
mod outgoing;
mod output;
mod signals;
mod stamp;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use tracing_subscriber::EnvFilter;

use cli::Cli;

/// What is logged if `RUST_LOG` says nothing else.
const LOG: &str = "info,zenoh=warn";

fn main() -> ExitCode {
    match act(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // It is the exit code that tells if nobody can read this.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(cli: &Cli) -> Result<()> {
    if let Some(shell) = cli.print_completions {
        let name = env!("CARGO_PKG_NAME");
        clap_complete::generate(shell, &mut Cli::command(), name, &mut io::stdout());
        return Ok(());
    }
    if cli.print_man_page {
        return man::print(&mut io::stdout()).context("cannot write to the standard output");
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        // Otherwise a log that cannot be written ends the thread that carries a channel.
        .log_internal_errors(false)
        .init();
    bridge::run(cli)
}
