// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The command line as a whole.

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use crate::command::{
    bench, chat, completions, cp, doctor, dump, info, launch, list, load, manual, monitor, peek,
    peer, ping, poke, ring, server, wait,
};
use crate::exit::Exit;
use crate::output::Output;

/// Look at ivshmem devices, ring them, and copy their memory
///
/// A device is /dev/ivshmemN, made by the driver ivshmem_rs. Each command has a help and a manual page of
/// its own.
#[derive(Debug, Parser)]
#[command(name = "ivshmemctl", version, disable_help_subcommand = true)]
pub struct Cli {
    /// Answer in JSON, one object or array in a line; errors too, on the standard error
    #[arg(long, global = true)]
    pub json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::Options),
    Info(info::Options),
    Ring(ring::Options),
    Wait(wait::Options),
    Monitor(monitor::Options),
    Peek(peek::Options),
    Poke(poke::Options),
    Dump(dump::Options),
    Load(load::Options),
    Ping(ping::Options),
    Chat(chat::Options),
    Cp(cp::Options),
    Bench(bench::Options),
    Doctor(doctor::Options),
    Launch(launch::Options),
    Server(server::Options),
    Peer(peer::Options),
    Completions(completions::Options),
    Manual(manual::Options),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(&self) -> Result<Exit> {
        let output = Output::new(self.json);
        match &self.command {
            Command::List(options) => list::run(options, output),
            Command::Info(options) => info::run(options, output),
            Command::Ring(options) => ring::run(options, output),
            Command::Wait(options) => wait::run(options, output),
            Command::Monitor(options) => monitor::run(options, output),
            Command::Peek(options) => peek::run(options, output),
            Command::Poke(options) => poke::run(options, output),
            Command::Dump(options) => dump::run(options, output),
            Command::Load(options) => load::run(options, output),
            Command::Ping(options) => ping::run(options, output),
            Command::Chat(options) => chat::run(options, output),
            Command::Cp(options) => cp::run(options, output),
            Command::Bench(options) => bench::run(options, output),
            Command::Doctor(options) => doctor::run(options, output),
            Command::Launch(options) => launch::run(options, output),
            Command::Server(options) => server::run(options, output),
            Command::Peer(options) => peer::run(options, output),
            Command::Completions(options) => completions::run(options, Self::command(), output),
            Command::Manual(options) => manual::run(options, Self::command(), output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
