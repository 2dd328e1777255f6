// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap_complete::Shell;

const AFTER_HELP: &str = "\
Signals:
  SIGTERM, SIGINT, SIGHUP  end; a second one ends at once
  SIGUSR1                  print what was carried

Exit status:
  0  ended by a signal, or printed what was asked for
  1  failure, which is explained on the standard error
  2  wrong usage";

/// Carry topics of channels in shared memory to other hosts, over Zenoh.
///
/// Joins the guests of this host as a peer of their ivshmem-server, publishes values of their topics under keys of Zenoh,
/// and writes what it hears there into other topics. Logs to the standard error; prints what was carried to the
/// standard output, on SIGUSR1 and at the end.
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
pub struct Cli {
    /// Which topics are carried under which keys; see ivshmem-bridge(8)
    #[arg(long, value_name = "FILE", required_unless_present_any = ["print_completions", "print_man_page"])]
    pub config: Option<PathBuf>,

    /// Zenoh's own configuration, in JSON5: endpoints, TLS, access
    ///
    /// Takes the place of zenoh-config in the other file. One of them is needed.
    #[arg(long, value_name = "FILE")]
    pub zenoh_config: Option<PathBuf>,

    /// Print what was carried each SECONDS too
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub stats: Option<Duration>,

    /// Print JSON, an object a line; also when a channel is joined or away
    #[arg(long)]
    pub json: bool,

    /// Print completions for this shell, and end
    #[arg(long, value_name = "SHELL")]
    pub print_completions: Option<Shell>,

    /// Print the manual page, and end
    #[arg(long, conflicts_with = "print_completions")]
    pub print_man_page: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err("give a whole number from 1 on".into()),
    }
}
