// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Boots virtual machines, runs a command in each, shows its output and passes its exit code on.

mod cli;
mod report;

use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result};
use clap::Parser;
use vmbench::{boot_all, cleanup, Accel, Builder, Device, Guest, Mark, Memory, Region};

use cli::{Cli, Kind};
use report::{Outcome, Printer};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match bench(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("vmbench: {error:#}");
            ExitCode::from(cli::exit::SETUP)
        }
    }
}

/// Does everything, and returns the exit code.
fn bench(cli: &Cli) -> Result<u8> {
    cleanup::on_signals().context("cannot catch signals")?;
    let devices = Devices::new(cli)?;
    let builders: Vec<Builder> = (0..cli.guests)
        .map(|number| describe(cli, number, &devices))
        .collect();
    let printer = Printer::new(cli.json, cli.guests > 1);
    let outcomes = match boot_all(&builders) {
        Ok(guests) => run_all(cli, &guests, &printer),
        Err(error) => vec![Outcome::of_error(None, error)],
    };
    report::finish(cli, &outcomes)
}

/// What the guests share.
struct Devices {
    list: Vec<Device>,
    /// Kept alive for the guests' sake.
    _region: Option<Region>,
}

impl Devices {
    fn new(cli: &Cli) -> Result<Self> {
        let kinds = cli.kinds();
        let region = kinds
            .contains(&Kind::Doorbell)
            .then(|| Region::start(cli.size, cli.vectors))
            .transpose()?;
        let mut list = Vec::new();
        for kind in kinds {
            match (kind, &region) {
                (Kind::Doorbell, Some(region)) => list.push(Device::doorbell(region)),
                (Kind::Plain, _) => list.push(Device::plain(&Memory::anonymous(cli.size)?)),
                (Kind::Doorbell | Kind::None, _) => {}
            }
        }
        Ok(Self {
            list,
            _region: region,
        })
    }
}

fn describe(cli: &Cli, number: u32, devices: &Devices) -> Builder {
    let mut guest = Guest::builder()
        .name(format!("vm{number}"))
        .memory_mib(cli.memory)
        .cpus(cli.cpus)
        .firmware(cli.firmware())
        .qemu_args(&cli.qemu_args);
    if cli.kvm {
        guest = guest.accel(Accel::Kvm);
    }
    if let Some(kernel) = &cli.kernel {
        guest = guest.kernel(kernel);
    }
    for parameters in &cli.append {
        guest = guest.append(parameters);
    }
    for device in &devices.list {
        guest = guest.device(device.clone());
    }
    for (host, path) in &cli.files {
        guest = guest.file(host, path);
    }
    for module in &cli.modules {
        guest = guest.module(module);
    }
    guest
}

fn run_all(cli: &Cli, guests: &[Guest], printer: &Printer) -> Vec<Outcome> {
    thread::scope(|scope| {
        let runs: Vec<_> = (0..)
            .zip(guests)
            .map(|(number, guest)| scope.spawn(move || run(cli, number, guest, printer)))
            .collect();
        runs.into_iter()
            .map(|run| {
                run.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

fn run(cli: &Cli, number: usize, guest: &Guest, printer: &Printer) -> Outcome {
    match try_run(cli, number, guest, printer) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::of_error(Some(guest), error),
    }
}

fn try_run(cli: &Cli, number: usize, guest: &Guest, printer: &Printer) -> vmbench::Result<Outcome> {
    let mut lines = printer.lines(number, guest.name());
    let running = guest
        .command(&cli.command)
        .env("GUEST_ID", number.to_string())
        .env("GUESTS", cli.guests.to_string())
        .limit(cli.time_limit)
        .spawn()?;
    let output = running.wait_with(|stream, chunk| lines.take(stream, chunk))?;
    lines.flush();
    let splats = guest.kernel_splats(Mark::BOOT)?;
    Ok(Outcome::of_output(guest, output, splats, cli.check_kernel))
}
