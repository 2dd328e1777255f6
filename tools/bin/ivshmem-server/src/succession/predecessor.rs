// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the server before this one left behind.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use ivshmem_protocol::ConnectionId;

use crate::succession::inheritance::Inheritance;
use crate::succession::journal::Journal;
use crate::succession::names;
use crate::succession::state::State;

/// What the server before this one left behind; nothing if there was none.
#[derive(Debug)]
pub(crate) struct Predecessor {
    /// Its journal, to go on with.
    pub journal: Journal,
    pub state: State<'static>,
    /// Sockets and doors of all connections.
    pub sockets: BTreeMap<ConnectionId, (String, OwnedFd)>,
}

impl Predecessor {
    /// Reads its journal, and takes the connections.
    pub(crate) fn read(inheritance: &mut Inheritance) -> io::Result<Self> {
        let mut sockets = BTreeMap::new();
        for name in inheritance.names() {
            if let Some((number, door)) = names::parse_connection(&name) {
                let socket = inheritance.take(&name);
                sockets.extend(socket.map(|socket| (number, (door.to_owned(), socket))));
            }
        }
        let (journal, state) = match inheritance.take(names::JOURNAL) {
            Some(journal) => Journal::adopt(journal)?,
            None if sockets.is_empty() => (Journal::new()?, State::new(0, 0)),
            None => return Err(io::Error::other("it kept connections, but no journal")),
        };
        Ok(Self {
            journal,
            state,
            sockets,
        })
    }
}
