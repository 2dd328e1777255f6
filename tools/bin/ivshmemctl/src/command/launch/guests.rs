// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Starts what was planned, and ends it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{kill_process, Pid, Signal};
use serde_json::json;

use crate::exit::{failure, Exit};
use crate::output::Output;
use crate::signals;

/// How often to look whether a process has ended.
const LOOK: Duration = Duration::from_millis(100);

/// How the notice begins that a service is ready: `sd_notify(3)`.
const READY: &[u8] = b"READY=1\n";

/// A process that is told to end when this is dropped, and waited for.
struct Process {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
}

/// Starts the server and the guests, and returns when all guests or a signal have ended it.
/// Each is given by its command line; guests may have a console each.
pub fn run(
    server: Option<&[String]>,
    guests: &[Vec<String>],
    consoles: &[PathBuf],
    output: Output,
) -> Result<Exit> {
    let ended = signals::ended()?;
    // Dropped last.
    let start = |words| start_server(words, &ended);
    let mut server = server.map(start).transpose()?;
    let mut running = Vec::new();
    for (vm, words) in guests.iter().enumerate() {
        if ended.load(Ordering::Relaxed) {
            break;
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        let mut guest = Process::start(format!("vm{vm}"), &mut command)?;
        let console = consoles.get(vm);
        if let Some(socket) = console {
            wait_for_console(socket, &mut guest, &ended)?;
        }
        tell(&guest, vm, console, output);
        running.push(guest);
    }
    while !ended.load(Ordering::Relaxed) && !running.is_empty() {
        sleep(LOOK);
        for guest in &mut running {
            guest.look()?;
        }
        running.retain(|guest| guest.ended.is_none());
        if let Some(server) = &mut server {
            server.look_on()?;
        }
    }
    Ok(Exit::Success)
}

/// Returns when QEMU takes connections there, or a signal came.
fn wait_for_console(socket: &Path, guest: &mut Process, ended: &AtomicBool) -> Result<()> {
    while !ended.load(Ordering::Relaxed) && UnixStream::connect(socket).is_err() {
        guest.look_on()?;
        sleep(LOOK);
    }
    Ok(())
}

/// Guests go on if nobody reads it.
fn tell(guest: &Process, vm: usize, console: Option<&PathBuf>, output: Output) {
    let (name, pid) = (&guest.name, guest.child.id());
    let _ = output.answer(&json!({ "vm": vm, "pid": pid, "console": console }), || {
        let console = console.map(|socket| format!("; ivshmemctl console {}", socket.display()));
        format!("{name}: process {pid}{}", console.unwrap_or_default())
    });
}

/// Returns when it takes connections, of which it tells as it would tell systemd, or a signal came. Trying to connect
/// would take a peer ID.
fn start_server(words: &[String], ended: &AtomicBool) -> Result<Process> {
    let name = format!("ivshmemctl-launch-{}", std::process::id());
    let notices = SocketAddr::from_abstract_name(&name)
        .and_then(|address| UnixDatagram::bind_addr(&address))
        .context("cannot listen to the server")?;
    notices.set_read_timeout(Some(LOOK))?;
    let mut command = Command::new(program(&words[0]));
    command.args(&words[1..]).stdin(Stdio::null());
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let mut server = Process::start(words[0].clone(), &mut command)?;
    let mut notice = [0; 256];
    loop {
        // Nothing comes within the time limit while it starts.
        let length = notices.recv(&mut notice).unwrap_or(0);
        if notice[..length].starts_with(READY) || ended.load(Ordering::Relaxed) {
            return Ok(server);
        }
        server.look_on()?;
    }
}

/// Whether the shell would find this program.
fn is_installed(name: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    match name.contains('/') {
        true => Path::new(name).exists(),
        false => std::env::split_paths(&paths).any(|path| path.join(name).exists()),
    }
}

/// Fails where the guests' program is missing, before the server is started for nothing.
pub fn expect_program(qemu: &str) -> Result<()> {
    match is_installed(qemu) {
        true => Ok(()),
        false => Err(failure(
            Exit::Failure,
            format!("cannot start {qemu}, which is not there: install QEMU, or name its program by --qemu"),
        )),
    }
}

/// The program of this name that lies beside this one, if there is one and none is installed.
fn program(name: &str) -> PathBuf {
    let beside = std::env::current_exe().unwrap_or_default();
    let beside = beside.with_file_name(name);
    match !is_installed(name) && beside.exists() {
        true => beside,
        false => Path::new(name).into(),
    }
}

impl Process {
    fn start(name: String, command: &mut Command) -> Result<Self> {
        // Ctrl-C goes to this program's group only, which then ends the others in order: guests first.
        let child = command.process_group(0).spawn().with_context(|| {
            let program = command.get_program().to_string_lossy();
            format!("cannot start {program}: install it, or name it by an option")
        })?;
        Ok(Self {
            name,
            child,
            ended: None,
        })
    }

    /// Looks whether it has ended. How a guest ended badly is a failure of all.
    fn look(&mut self) -> Result<()> {
        self.ended = self.child.try_wait()?;
        match self.ended {
            Some(status) if !status.success() => {
                let message = format!("{} has ended with {status}", self.name);
                Err(failure(Exit::Failure, message))
            }
            _ => Ok(()),
        }
    }

    /// As [`look`](Self::look), for one that must not end at all.
    fn look_on(&mut self) -> Result<()> {
        self.look()?;
        match self.ended {
            Some(_) => Err(failure(Exit::Failure, format!("{} has ended", self.name))),
            None => Ok(()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended by itself is not there to be told.
        if self.ended.is_none() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}
