// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The control socket, by which an operator has something changed.
//!
//! A connection is one command, as a line of JSON, and one line for an answer. Only the user of the server and root are
//! obeyed, whatever the mode of a socket that was passed in.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use ivshmem_protocol::PeerId;
use rustix::io::Errno;
use rustix::net::{recv, send, RecvFlags, SendFlags};
use rustix::process::geteuid;
use serde::Deserialize;
use serde_json::json;
use tracing::warn;

use crate::listener::Listener;
use crate::poller::{Interest, Poller, Token};
use crate::region::{Common, Region};
use crate::sys;

/// Connections that can be there at the same time. More push out the oldest.
const OPERATORS: usize = 8;

/// Longest command in bytes.
const LONGEST: usize = 1024;

/// What an operator can have done.
#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Command {
    /// Lets nobody else join a region, until it is admitted again.
    Drain { region: String },
    /// Ends that.
    Admit { region: String },
    /// Drops a client.
    Drop { region: String, peer: u16 },
}

/// The control socket, and those who have not sent all of a command.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    pub listener: Listener,
    operators: BTreeMap<u64, (OwnedFd, Vec<u8>)>,
    next: u64,
}

impl ControlSocket {
    pub(crate) fn new(listener: Listener) -> Self {
        Self {
            listener,
            operators: BTreeMap::new(),
            next: 0,
        }
    }

    /// Waits for the commands of all who have connected.
    pub(crate) fn accept(&mut self, poller: &Poller) -> Result<(), Errno> {
        for _ in 0..OPERATORS {
            let Some(socket) = self.listener.accept()? else {
                return Ok(());
            };
            if !is_operator(&socket) {
                answer(
                    &socket,
                    Err("only the user of the server and root can do this".into()),
                );
                continue;
            }
            let number = self.next;
            self.next += 1;
            poller.add(&socket, Token::Operator(number), Interest::READ)?;
            self.operators.insert(number, (socket, Vec::new()));
            if self.operators.len() > OPERATORS {
                self.operators.pop_first();
            }
        }
        Ok(())
    }

    /// Reads on from one operator. Gives its command, and whom to answer, once it is there.
    pub(crate) fn read(&mut self, number: u64) -> Option<(OwnedFd, Result<Command, String>)> {
        let (socket, text) = self.operators.get_mut(&number)?;
        let mut bytes = [0; LONGEST];
        match recv(&*socket, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((_, count @ 1..)) => text.extend_from_slice(&bytes[..count]),
            Err(Errno::AGAIN | Errno::INTR) => return None,
            // It has gone.
            _ => {
                self.operators.remove(&number);
                return None;
            }
        }
        let line = text.iter().position(|byte| *byte == b'\n');
        if line.is_none() && text.len() < LONGEST {
            return None;
        }
        let (socket, text) = self.operators.remove(&number)?;
        let line = &text[..line.unwrap_or(text.len())];
        let command = serde_json::from_slice(line).map_err(|error| format!("no command: {error}"));
        Some((socket, command))
    }
}

/// Whether somebody may give commands.
fn is_operator(socket: &OwnedFd) -> bool {
    let ours = geteuid().as_raw();
    sys::credentials(socket.as_fd()).is_ok_and(|found| [0, ours].contains(&found.uid))
}

/// Tells an operator how it went. The socket has room, as nothing was sent before.
pub(crate) fn answer(socket: &OwnedFd, result: Result<(), String>) {
    let answer = match result {
        Ok(()) => json!({ "ok": true }),
        Err(why) => json!({ "error": why }),
    };
    let line = format!("{answer}\n");
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    while let Err(Errno::INTR) = send(socket, line.as_bytes(), flags) {}
}

/// Does what an operator wants.
pub(crate) fn obey(
    command: Command,
    regions: &mut [Region],
    common: &mut Common<'_>,
) -> Result<(), String> {
    let (Command::Drain { region: name }
    | Command::Admit { region: name }
    | Command::Drop { region: name, .. }) = &command;
    let region = regions
        .iter_mut()
        .find(|region| region.config.name == *name)
        .ok_or_else(|| format!("there is no region {name}"))?;
    warn!("{name}: the operator says: {command:?}");
    match command {
        Command::Drain { .. } => region.set_drained(common, true),
        Command::Admit { .. } => region.set_drained(common, false),
        Command::Drop { peer, .. } => {
            let dropped = region.dismiss(common, PeerId::from(peer));
            return dropped
                .then_some(())
                .ok_or_else(|| format!("{}: there is no peer {peer}", region.config.name));
        }
    }
    Ok(())
}
