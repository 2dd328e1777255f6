// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! ACRN's shared memory regions for virtual machines of QEMU.
//!
//! Serves the ivshmem devices of a configuration over vfio-user, one socket for each virtual machine and region,
//! and prints or runs the QEMUs that use them. `Documentation/emulation.rst` has more.

mod cli;
mod machines;
mod plan;
mod signals;
mod world;

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tracing_subscriber::EnvFilter;

use cli::Options;
use world::Seat;

/// What went wrong if nobody takes what is printed.
const UNPRINTED: &str = "cannot write to the standard output";

fn main() -> ExitCode {
    let result = match Options::parse() {
        Ok(None) => Ok(true),
        Ok(Some(options)) => {
            start_log();
            run(&options)
        }
        Err(error) => Err(error).context(UNPRINTED),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            note(format_args!("ivshmem-emu: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn start_log() {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,vfio_user=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Otherwise a log that cannot be written ends the thread that serves a guest.
        .log_internal_errors(false)
        .init();
}

/// Writes a line to standard error. What cannot be written changes nothing.
fn note(line: Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// True if everything that was started ended well.
fn run(options: &Options) -> Result<bool> {
    let regions = plan::regions(options)?;
    let (sockets, guard) = socket_dir(options)?;
    let mut signals = signals::ending().context("cannot handle signals")?;
    let seats = world::serve(&regions, options, &sockets)?;
    let machines = machines::machines(&seats, options);
    if options.launch {
        // Dropped by whoever comes first: the end of the guests, or a signal, which ends the guests too.
        let world = Arc::new(Mutex::new(Some((seats, guard))));
        let at_signal = Arc::clone(&world);
        thread::spawn(move || {
            if signals.forever().next().is_some() {
                close(&at_signal);
                std::process::exit(0);
            }
        });
        let result = machines::run(&machines);
        close(&world);
        return result;
    }
    for seat in &seats {
        note(format_args!(
            "VM{} {} {} {}",
            seat.vm,
            seat.bdf,
            seat.region,
            seat.endpoint.path().display()
        ));
    }
    for machine in &machines {
        writeln!(io::stdout(), "{}", machine.shell_line()).context(UNPRINTED)?;
    }
    signals.forever().next();
    Ok(true)
}

/// Sockets, and their directory if it was made for them.
type World = (Vec<Seat>, Option<TempDir>);

/// Removes the sockets.
fn close(world: &Mutex<Option<World>>) {
    world.lock().unwrap_or_else(PoisonError::into_inner).take();
}

/// Where the sockets go, and what removes it.
fn socket_dir(options: &Options) -> Result<(PathBuf, Option<TempDir>)> {
    if let Some(directory) = &options.socket_dir {
        return Ok((directory.clone(), None));
    }
    let directory = tempfile::Builder::new().prefix("ivshmem-emu-").tempdir();
    let directory = directory.context("cannot make a directory for the sockets")?;
    Ok((directory.path().into(), Some(directory)))
}
