// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The `ivshmem-server` program: command line, log, signals and limits around the library.

mod cli;
mod confine;
mod daemon;
mod file;
mod limits;
mod log;
mod man;
mod ready;
mod signals;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{bail, Context};
use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use ivshmem_server::{
    BindError, Config, Inheritance, Report, Server, ServiceManager, TakeOver, Triggers,
};
use tracing::info;

use crate::cli::Cli;
use crate::daemon::{Background, Side};
use crate::log::Log;
use crate::ready::{inherited, PidFile, ReadyFd};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = if cli.print_capabilities {
        print_capabilities()
    } else if let Some(shell) = cli.print_completions {
        print_completions(shell)
    } else if cli.print_man_page {
        man::print(&mut io::stdout()).context("cannot write to the standard output")
    } else {
        return start(&cli).unwrap_or_else(failure);
    };
    result.map_or_else(failure, |()| ExitCode::SUCCESS)
}

fn failure(error: anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

/// Serves, here or in the background.
fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    if cli.has_no_socket() && std::env::var_os("LISTEN_FDS").is_none() {
        let text = "one of --socket-path, --fd and --config is needed, or a socket from systemd. \
                    QEMU's server defaults to --socket-path=/tmp/ivshmem_socket --memory=shm:ivshmem";
        let kind = clap::error::ErrorKind::MissingRequiredArgument;
        Cli::command().error(kind, text).exit();
    }
    let serviced = ["NOTIFY_SOCKET", "LISTEN_FDS"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    if cli.daemonize && serviced {
        bail!("--daemonize is not for a service of systemd: use Type=notify without it");
    }
    let background = match cli.is_for_background() && !serviced {
        false => None,
        true => match daemon::split()? {
            Side::Starter(code) => return Ok(code),
            Side::Background(background) => Some(background),
        },
    };
    serve(cli, background, serviced)?;
    Ok(ExitCode::SUCCESS)
}

fn serve(cli: &Cli, background: Option<Background>, serviced: bool) -> anyhow::Result<()> {
    // First of all, before any descriptor is opened that could have one of the numbers.
    let ready = cli.ready_fd.map(ReadyFd::inherit).transpose()?;
    let mut inheritance =
        Inheritance::from_environment().context("cannot take what systemd passes")?;
    if let Some(fd) = cli.region.fd {
        inheritance.push(ivshmem_server::DEFAULT_REGION, inherited("--fd", fd)?);
    }
    tracing_subscriber::fmt()
        .with_max_level(cli.log_level())
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(Log::new())
        .init();
    let config = configuration(cli)?;
    limits::raise_descriptor_limit(config.descriptors());
    limits::check_in_flight(config.descriptors_in_flight());
    let places = confine::places(&config, cli);
    let manager = ServiceManager::from_environment().context("cannot reach NOTIFY_SOCKET")?;
    if let Some(manager) = manager.as_ref().filter(|_| cli.fd_store) {
        limits::check_store(manager.room(), config.stored_descriptors());
    }
    let take_over = match &cli.take_over {
        None => None,
        Some(path) => {
            let (take_over, everything) = TakeOver::ask(path)
                .with_context(|| format!("cannot take over by {}", path.display()))?;
            // Sockets that were passed to both are not among what the other one gives.
            inheritance = everything.and(inheritance);
            Some(take_over)
        }
    };
    // Before there are files that a signal would leave behind.
    let triggers = Triggers::new()?;
    signals::handle(&triggers, cli.config.is_some())?;
    let mut server = match Server::start(config, inheritance, store(cli)?, triggers) {
        Err(BindError::Stopped) => {
            info!("stopped before it was ready");
            return Ok(());
        }
        started => started?,
    };
    if let Some(path) = cli.config.clone() {
        server.reload_by(move || file::read(&path).map_err(|error| format!("{error:#}")));
    }
    let pid_file = cli.pidfile.as_deref().map(PidFile::write).transpose()?;
    if let Some(background) = &background {
        background
            .let_go()
            .context("cannot let go of the streams")?;
    }
    if cli.confine {
        confine::confine(&places).context("--confine")?;
    }
    // After all that can fail: the other one ends by it.
    if let Some(take_over) = take_over {
        take_over
            .finish(&mut server)
            .inspect_err(|_| pid_file.iter().for_each(PidFile::restore))
            .context("the server before this one does not let go")?;
    }
    if let Some(ready) = ready {
        ready
            .notify()
            .context("cannot write to the descriptor of --ready-fd")?;
    } else if background.is_none() && !cli.foreground && !serviced {
        info!(
            "staying in the foreground; --daemonize goes to the background, as QEMU's server does"
        );
    }
    if let Some(background) = background {
        background.ready().context("cannot go to the background")?;
    }
    if let Some(manager) = &manager {
        let text = "READY=1\nSTATUS=Serving clients\n";
        manager.notify(text).context("cannot tell NOTIFY_SOCKET")?;
    }
    server.run(print_report).context("cannot wait for events")?;
    if let Some(manager) = &manager {
        // Whoever listens may have gone first, which does not matter now.
        let _ = manager.notify("STOPPING=1\n");
    }
    Ok(())
}

fn configuration(cli: &Cli) -> anyhow::Result<Config> {
    let mut config = match &cli.config {
        Some(path) => file::read(path)?,
        None => cli.config(),
    };
    config.status_socket = cli.status_socket.clone().or(config.status_socket);
    config.control_socket = cli.control_socket.clone().or(config.control_socket);
    config.hand_over = cli.hand_over.clone().or(config.hand_over);
    Ok(config)
}

/// The service manager that is to keep everything for a successor, if there is to be one.
fn store(cli: &Cli) -> anyhow::Result<Option<ServiceManager>> {
    if !cli.fd_store {
        return Ok(None);
    }
    let manager = ServiceManager::from_environment().context("cannot reach NOTIFY_SOCKET")?;
    if manager.is_none() {
        bail!("--fd-store needs a service manager: run as a systemd service, Type=notify");
    }
    Ok(manager)
}

fn print_report(report: &Report) {
    log::print(report.to_string().as_bytes());
}

fn print_completions(shell: Shell) -> anyhow::Result<()> {
    // Not to the output at once: it takes that for one that never fails.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ivshmem-server", &mut text);
    let result = io::stdout().write_all(&text);
    result.context("cannot write to the standard output")
}

fn print_capabilities() -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&cli::capabilities())?;
    writeln!(io::stdout(), "{text}").context("cannot write to the standard output")
}
