// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl console`: the first serial line of a guest, on this terminal.

use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::{retry_on_intr, Errno};

use crate::exit::Exit;
use crate::output::complain;
use crate::signals;

/// Ctrl-], which leaves, as with telnet and virsh.
const LEAVE: u8 = 0x1d;

/// Connect to the console of a guest
///
/// The guest was started by `ivshmemctl launch --console`, which prints the socket; or its QEMU has a serial line by
/// -serial unix:SOCKET,server=on,wait=off. Output from before the connection is lost. On a terminal, all keys go to the guest
/// except Ctrl-], which leaves. From a pipe or a file, the input is typed, and output is written until the guest ends. A console
/// serves one user at a time; the next one waits.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl console /tmp/ivshmem.sock.vm0
  ivshmemctl console /tmp/ivshmem.sock.vm1 </dev/null >vm1.log")]
pub struct Options {
    /// The socket of the console
    socket: PathBuf,
}

/// Carries both ways until the guest ends, the user leaves, or a signal.
pub fn run(options: &Options) -> Result<Exit> {
    let console = UnixStream::connect(&options.socket).with_context(|| {
        let socket = options.socket.display();
        format!("cannot connect to {socket}: is the guest running, with a console there?")
    })?;
    // A guest that takes nothing must not keep anybody from leaving.
    console.set_nonblocking(true)?;
    let signals = signals::readable()?;
    let on_terminal = io::stdin().is_terminal();
    if on_terminal {
        complain("Connected. Ctrl-] leaves.");
    }
    let raw = on_terminal.then(RawMode::enter).transpose()?;
    let ended = carry(&console, &signals, on_terminal);
    drop(raw);
    ended.context("the console failed").map(|()| Exit::Success)
}

fn carry(console: &UnixStream, signals: &UnixStream, on_terminal: bool) -> io::Result<()> {
    let stdin = io::stdin();
    let mut input_open = true;
    // What was typed and the guest has not taken.
    let mut typed = Vec::new();
    loop {
        let (from_machine, from_user) = {
            let both = match typed.is_empty() {
                true => PollFlags::IN,
                false => PollFlags::IN | PollFlags::OUT,
            };
            let mut watched = vec![
                PollFd::new(console, both),
                PollFd::new(signals, PollFlags::IN),
            ];
            if input_open && typed.is_empty() {
                watched.push(PollFd::new(&stdin, PollFlags::IN));
            }
            retry_on_intr(|| poll(&mut watched, None))?;
            let is_ready =
                |which: usize| watched.get(which).is_some_and(|w| !w.revents().is_empty());
            if is_ready(1) {
                return Ok(());
            }
            (is_ready(0), is_ready(2))
        };
        if from_machine && !to_user(console)? {
            return Ok(());
        }
        let mut leaves = false;
        if from_user {
            match from_stdin(on_terminal, &mut typed)? {
                Input::More => (),
                Input::Closed => input_open = false,
                Input::Leave => leaves = true,
            }
        }
        to_machine(console, &mut typed)?;
        if leaves {
            return Ok(());
        }
    }
}

/// Returns whether the guest still runs.
fn to_user(mut console: &UnixStream) -> io::Result<bool> {
    let mut bytes = [0; 4096];
    let length = match console.read(&mut bytes) {
        Ok(length) => length,
        Err(error) => match error.kind() {
            ErrorKind::ConnectionReset => 0,
            ErrorKind::WouldBlock => return Ok(true),
            _ => return Err(error),
        },
    };
    let mut screen = io::stdout().lock();
    screen.write_all(&bytes[..length])?;
    screen.flush()?;
    Ok(length > 0)
}

enum Input {
    More,
    Closed,
    Leave,
}

/// Adds what was typed.
fn from_stdin(on_terminal: bool, typed: &mut Vec<u8>) -> io::Result<Input> {
    let mut bytes = [0; 4096];
    // Not by io::Stdin, whose buffer poll does not see.
    let length = match rustix::io::read(io::stdin(), &mut bytes) {
        Ok(0) | Err(Errno::IO) => return Ok(Input::Closed),
        length => length?,
    };
    let bytes = &bytes[..length];
    let end = bytes.iter().position(|byte| on_terminal && *byte == LEAVE);
    typed.extend(&bytes[..end.unwrap_or(length)]);
    Ok(end.map_or(Input::More, |_| Input::Leave))
}

/// Writes what the guest takes now.
fn to_machine(mut console: &UnixStream, typed: &mut Vec<u8>) -> io::Result<()> {
    if typed.is_empty() {
        return Ok(());
    }
    match console.write(typed) {
        Ok(length) => drop(typed.drain(..length)),
        Err(error) => match error.kind() {
            ErrorKind::WouldBlock => {}
            // It has ended: reading will say so.
            ErrorKind::BrokenPipe => typed.clear(),
            _ => return Err(error),
        },
    }
    Ok(())
}

/// The terminal passes on each key, as long as this lives.
struct RawMode;

impl RawMode {
    fn enter() -> Result<Self> {
        enable_raw_mode().context("cannot read single keys from this terminal")?;
        Ok(Self)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let _ = disable_raw_mode();
    }
}
