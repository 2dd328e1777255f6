// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The command line as a whole.

use anyhow::Result;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::command::{
    bench, chat, completions, console, cp, doctor, dump, forward, info, launch, list, load, manual,
    monitor, peek, peers, ping, poke, ring, server, stat, top, tunnel, wait, watch,
};
use crate::exit::Exit;
use crate::output::Output;

/// Inspect and use ivshmem devices: list, diagnose, ring doorbells, wait, copy memory
///
/// A device is /dev/ivshmemN, made by the driver ivshmem_rs. Each command has a help and a manual page of
/// its own: `ivshmemctl help COMMAND`, `man ivshmemctl-COMMAND`.
#[derive(Debug, Parser)]
#[command(name = "ivshmemctl", version)]
pub struct Cli {
    /// Answer in JSON, one object or array in a line; errors too, on the standard error
    #[arg(short, long, global = true)]
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
    Top(top::Options),
    Stat(stat::Options),
    Watch(watch::Options),
    Peek(peek::Options),
    Poke(poke::Options),
    Dump(dump::Options),
    Load(load::Options),
    Ping(ping::Options),
    Chat(chat::Options),
    Cp(cp::Options),
    Tunnel(tunnel::Options),
    Forward(forward::Options),
    Bench(bench::Options),
    Doctor(doctor::Options),
    Launch(launch::Options),
    Console(console::Options),
    Server(server::Options),
    Peers(peers::Options),
    #[command(hide = true)]
    Completions(completions::Options),
    #[command(hide = true)]
    Manual(manual::Options),
}

/// The commands by the place where they run, as the help lists them.
const GROUPS: [(&str, &[&str]); 4] = [
    ("In a guest", &["list", "top", "stat", "watch"]),
    ("In a guest or on a host", &["doctor"]),
    (
        "In a guest, and with --join on a host",
        &[
            "info", "monitor", "peers", "ring", "wait", "peek", "poke", "dump", "load", "ping",
            "bench", "cp", "chat", "tunnel", "forward",
        ],
    ),
    ("On a host", &["launch", "console", "server"]),
];

/// The commands that reach a device without the driver too.
const WITHOUT_DRIVER: [&str; 12] = [
    "peers", "ring", "wait", "peek", "poke", "dump", "load", "ping", "cp", "chat", "tunnel",
    "forward",
];

/// Says of a command's --device that it reaches more.
fn without_driver(command: clap::Command) -> clap::Command {
    command.mut_arg("device", |device| {
        let help = device.get_help().cloned().unwrap_or_default();
        device.long_help(format!(
            "{help}\n\nA PCI address also reaches a device without the driver, more slowly."
        ))
    })
}

/// The command line, whose help lists the commands in groups.
pub fn program() -> clap::Command {
    let program = WITHOUT_DRIVER.iter().fold(Cli::command(), |program, name| {
        program.mut_subcommand(name, without_driver)
    });
    let mut list = String::new();
    for (title, names) in GROUPS {
        list += &format!("{title}:\n");
        for command in names
            .iter()
            .filter_map(|name| program.find_subcommand(name))
        {
            let about = command.get_about().cloned().unwrap_or_default();
            list += &format!("  {:<8} {about}\n", command.get_name());
        }
        list += "\n";
    }
    program.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}Options:\n{{options}}"
    ))
}

/// Ends the process where one endpoint is named by a device, and by a server too. The parser cannot: to it the variable for a
/// device is an option as any other, and may well be set where --join is given.
fn refuse_two_ends(matches: &ArgMatches) {
    let Some((_, command)) = matches.subcommand() else {
        return;
    };
    let is_given = |id: &str| {
        command.try_contains_id(id).is_ok()
            && command.value_source(id) == Some(ValueSource::CommandLine)
    };
    if is_given("device") && (is_given("join") || is_given("socket")) {
        let text = "--device names a device of this system, and --join a server: give one of them";
        program().error(ErrorKind::ArgumentConflict, text).exit();
    }
}

/// What is wrong with a command line; where a command of guests was given a server, what to do instead.
fn explained(error: clap::Error) -> clap::Error {
    let of_guests = GROUPS[0].1;
    let command = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let command = command.filter(|name| of_guests.contains(&name.as_str()));
    match (error.get(ContextKind::InvalidArg), command) {
        (Some(ContextValue::String(option)), Some(command)) if option == "--join" => {
            let text = format!(
                "`{command}` looks at a device, which only a guest has; on a host, `ivshmemctl peers --join SOCKET` shows \
                 who is there"
            );
            program().error(ErrorKind::UnknownArgument, text)
        }
        _ => error,
    }
}

impl Cli {
    /// The command line of this process. Ends it where that is wrong, or asks for help.
    pub fn parse_program() -> Self {
        let matches = program().try_get_matches();
        let matches = matches.unwrap_or_else(|error| explained(error).exit());
        refuse_two_ends(&matches);
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// Does what was asked for.
    pub fn run(&self) -> Result<Exit> {
        let output = Output::new(self.json);
        match &self.command {
            Command::List(options) => list::run(options, output),
            Command::Info(options) => info::run(options, output),
            Command::Ring(options) => ring::run(options, output),
            Command::Wait(options) => wait::run(options, output),
            Command::Monitor(options) => monitor::run(options, output),
            Command::Top(options) => top::run(options, output),
            Command::Stat(options) => stat::run(options, output),
            Command::Watch(options) => watch::run(options, output),
            Command::Peek(options) => peek::run(options, output),
            Command::Poke(options) => poke::run(options, output),
            Command::Dump(options) => dump::run(options, output),
            Command::Load(options) => load::run(options, output),
            Command::Ping(options) => ping::run(options, output),
            Command::Chat(options) => chat::run(options, output),
            Command::Cp(options) => cp::run(options, output),
            Command::Tunnel(options) => tunnel::run(options, output),
            Command::Forward(options) => forward::run(options, output),
            Command::Bench(options) => bench::run(options, output),
            Command::Doctor(options) => doctor::run(options, output),
            Command::Launch(options) => launch::run(options, output),
            Command::Console(options) => console::run(options),
            Command::Server(options) => server::run(options, output),
            Command::Peers(options) => peers::run(options, output),
            Command::Completions(options) => completions::run(options, output),
            Command::Manual(options) => manual::run(options, program(), output),
        }
    }
}

#[cfg(test)]
mod printed;

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(line: &str) -> bool {
        let result = program().try_get_matches_from(line.split(' '));
        let refused = |error: clap::Error| assert_eq!(error.kind(), ErrorKind::ValueValidation);
        result.map_err(refused).is_err()
    }

    #[test]
    fn launch_takes_as_many_vectors_as_the_server() {
        assert!(!is_refused("ivshmemctl launch --vectors=256"));
        assert!(is_refused("ivshmemctl launch --vectors=257"));
    }

    #[test]
    fn a_report_that_is_shown_again_and_again_has_an_interval() {
        assert!(!is_refused("ivshmemctl server status --watch=1ms socket"));
        assert!(is_refused("ivshmemctl server status --watch=0 socket"));
    }

    #[test]
    fn command_line_is_consistent() {
        program().debug_assert();
    }

    #[test]
    fn only_commands_that_reach_a_device_without_the_driver_say_so() {
        for command in program().get_subcommands_mut() {
            let says = command
                .render_long_help()
                .to_string()
                .contains("without the driver");
            let expected = WITHOUT_DRIVER.contains(&command.get_name());
            assert_eq!(says, expected, "{}", command.get_name());
        }
    }

    #[test]
    fn every_command_that_is_shown_is_in_one_group() {
        let program = program();
        let shown = program.get_subcommands().filter(|c| !c.is_hide_set());
        let mut shown: Vec<_> = shown.map(clap::Command::get_name).collect();
        let mut listed: Vec<_> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        shown.sort_unstable();
        listed.sort_unstable();
        assert_eq!(shown, listed);
    }
}
