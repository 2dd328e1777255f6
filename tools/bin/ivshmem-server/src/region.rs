// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! One shared memory and the clients that share it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ivshmem_protocol::{JoinError, PeerId, ServerMessage};
use rustix::io::Errno;
use tracing::{debug, error, info};

use crate::client::{send_pending, Client, Progress, Received};
use crate::counters::Counters;
use crate::doorbells::Doorbells;
use crate::journal::{Record, RegionSnapshot};
use crate::ledger::{Ledger, MaySend};
use crate::memory::Memory;
use crate::names;
use crate::poller::{Interest, Poller, Ready, Token};
use crate::roster::{ConnectionId, Roster, Touched};
use crate::sys::{self, Credentials};
use crate::{BindError, RegionConfig};

/// What all regions use.
pub(crate) struct Common<'server> {
    pub poller: &'server Poller,
    pub ledger: &'server mut Ledger,
}

/// One shared memory and the clients that share it.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) config: RegionConfig,
    /// Vectors of each client that has no number of its own.
    pub(crate) vectors: NonZeroU16,
    pub(crate) memory: Memory,
    pub(crate) roster: Roster,
    pub(crate) counters: Counters,
    /// The connections that the roster knows.
    pub(crate) clients: BTreeMap<ConnectionId, Client>,
    /// Eventfds of all members, and of the lasting IDs that anybody ever had.
    pub(crate) doorbells: BTreeMap<PeerId, Doorbells>,
    /// Connections to which something can be sent, as far as known.
    dirty: BTreeSet<ConnectionId>,
    /// Connections to which sending has to be tried again after a while.
    starved: BTreeSet<ConnectionId>,
    /// Connections whose queue overflowed.
    overflowed: BTreeSet<ConnectionId>,
}

impl Region {
    /// A region, with what may be left of one before it.
    pub(crate) fn new(
        config: RegionConfig,
        memory: Memory,
        roster: Roster,
    ) -> Result<Self, BindError> {
        Ok(Self {
            vectors: config.checked_vectors()?,
            config,
            memory,
            roster,
            counters: Counters::default(),
            clients: BTreeMap::new(),
            doorbells: BTreeMap::new(),
            dirty: BTreeSet::new(),
            starved: BTreeSet::new(),
            overflowed: BTreeSet::new(),
        })
    }

    /// Makes a connection a member, for which all has been prepared. Gives the socket back if
    /// there is no place after all.
    pub(crate) fn enter(
        &mut self,
        common: &mut Common<'_>,
        number: ConnectionId,
        fixed: Option<PeerId>,
        vectors: NonZeroU16,
        client: Client,
    ) -> Result<(), (JoinError, OwnedFd)> {
        let (id, touched) = match self.roster.join(number, fixed, vectors) {
            Ok(joined) => joined,
            Err(error) => return Err((error, client.socket)),
        };
        common.ledger.watch(client.socket.as_fd(), number);
        let (name, pid) = (&self.config.name, client.credentials.pid.unwrap_or(0));
        let (uid, count) = (client.credentials.uid, self.roster.membership().len());
        info!("{name}: client {id} joined (pid {pid}, uid {uid}), {count} connected");
        self.counters.joined += 1;
        self.clients.insert(number, client);
        self.note(touched);
        Ok(())
    }

    /// Goes on with a connection of the server before this one, which the roster knows.
    pub(crate) fn resume(
        &mut self,
        poller: &Poller,
        number: ConnectionId,
        door: String,
        socket: OwnedFd,
    ) -> Result<(), Errno> {
        let interest = Interest {
            read: !self.roster.is_leaving(number),
            write: false,
        };
        poller.add(&socket, Token::Client(number), interest)?;
        let mut peers = self.config.peers.iter();
        let peer = peers.find(|peer| names::door(&self.config.name, Some(&peer.name)) == door);
        let client = Client {
            interest,
            credentials: sys::credentials(socket.as_fd()).unwrap_or(Credentials::UNKNOWN),
            read_only: peer.is_some_and(|peer| peer.read_only),
            door,
            socket,
        };
        self.clients.insert(number, client);
        Ok(())
    }

    /// Handles an event of a connection.
    pub(crate) fn handle(&mut self, common: &mut Common<'_>, number: ConnectionId, ready: Ready) {
        let Some(client) = self.clients.get(&number) else {
            return;
        };
        if self.roster.is_leaving(number) {
            // What it sends is of no interest any more, only whether it is there.
            if ready.hung_up {
                self.remove(common, number, "it closed the connection");
            }
        } else if ready.readable {
            match client.receive() {
                Received::Nothing => {}
                Received::Bytes => {
                    self.expel(common, number, "it sent something, which no client may");
                }
                Received::End => self.remove(common, number, "it closed the connection"),
            }
        }
        if ready.writable {
            self.touch(number);
        }
    }

    /// Notes that something may be sent to a connection, if it is one of this region.
    pub(crate) fn touch(&mut self, number: ConnectionId) {
        if self.clients.contains_key(&number) {
            self.dirty.insert(number);
        }
    }

    /// Whether sending has to be tried again without an event.
    pub(crate) fn is_starved(&self) -> bool {
        !self.starved.is_empty()
    }

    /// Marks those to whom sending failed for want of something to be tried again.
    pub(crate) fn retry_starved(&mut self) {
        self.dirty.append(&mut self.starved);
    }

    /// Sends all that can be sent, and drops whom that shows to be gone.
    pub(crate) fn settle(&mut self, common: &mut Common<'_>) {
        loop {
            if let Some(number) = self.overflowed.pop_first() {
                // The queue is as long as it can get, so this is a mistake of the server. The
                // client must not go on with notices missing.
                error!("{}: a queue overflowed", self.config.name);
                self.expel(common, number, "too much waits for it");
            } else if let Some(number) = self.dirty.pop_last() {
                // The newest first: when sending is short of something, what there is goes to
                // those whose QEMU stands still until it has its handshake.
                self.flush(common, number);
            } else {
                return;
            }
        }
    }

    /// Lets go of all clients. They are not told that the others leave, for the others stay.
    pub(crate) fn finish(&mut self, common: &mut Common<'_>) {
        for number in self.roster.connections().collect::<Vec<_>>() {
            self.roster.expel(number);
        }
        for number in self.roster.connections().collect::<Vec<_>>() {
            self.send(common, number);
        }
        self.clients.clear();
        self.doorbells.clear();
    }

    /// What a successor has to know.
    pub(crate) fn snapshot(&self) -> std::io::Result<RegionSnapshot<&Roster>> {
        let numbers = |(id, doorbells): (&PeerId, &Doorbells)| Ok((*id, doorbells.numbers()?));
        Ok(RegionSnapshot {
            roster: &self.roster,
            doorbells: self
                .doorbells
                .iter()
                .map(numbers)
                .collect::<Result<_, std::io::Error>>()?,
        })
    }

    /// Drops a connection that is over.
    pub(crate) fn remove(&mut self, common: &mut Common<'_>, number: ConnectionId, reason: &str) {
        common.ledger.record(|| Record::Removed { number });
        self.leave(common, number, reason, Roster::remove);
        if let Some(client) = self.clients.remove(&number) {
            let name = names::connection(number, &client.door);
            common.ledger.drop_kept(&name);
        }
        self.dirty.remove(&number);
        self.starved.remove(&number);
        self.overflowed.remove(&number);
    }

    /// Drops a client as soon as it has its handshake; before that, QEMU could not cope.
    fn expel(&mut self, common: &mut Common<'_>, number: ConnectionId, reason: &str) {
        self.counters.expelled += 1;
        common.ledger.record(|| Record::Expelled { number });
        self.leave(common, number, reason, Roster::expel);
    }

    /// Ends a membership and tells the others.
    fn leave(
        &mut self,
        common: &mut Common<'_>,
        number: ConnectionId,
        reason: &str,
        how: impl FnOnce(&mut Roster, ConnectionId) -> Touched,
    ) {
        let id = self.roster.id_of(number);
        let member = id.filter(|_| !self.roster.is_leaving(number));
        let touched = how(&mut self.roster, number);
        self.note(touched);
        let Some(id) = member else {
            return;
        };
        let (name, left) = (&self.config.name, self.roster.membership().len());
        info!("{name}: client {id} left, {left} connected: {reason}");
        self.counters.left += 1;
        if !self.roster.membership().is_lasting(id) {
            self.doorbells.remove(&id);
            common.ledger.drop_kept(&names::doorbells(name, id));
        }
    }

    fn note(&mut self, touched: Touched) {
        self.dirty.extend(touched.told);
        self.overflowed.extend(touched.overflowed);
    }

    fn flush(&mut self, common: &mut Common<'_>, number: ConnectionId) {
        if !self.clients.contains_key(&number) {
            return;
        }
        let progress = self.send(common, number);
        let leaving = self.roster.is_leaving(number);
        match progress {
            Progress::Broken(errno) => return self.remove(common, number, &errno.to_string()),
            Progress::Done if leaving => return self.remove(common, number, "it was dropped"),
            Progress::Starved(errno) => {
                debug!("sending to connection {} has to wait: {errno}", number.0);
                self.starved.insert(number);
            }
            Progress::Done | Progress::Blocked | Progress::Unread => {}
        }
        let interest = Interest {
            read: !leaving,
            write: progress == Progress::Blocked,
        };
        self.wait_for(common.poller, number, interest);
    }

    fn wait_for(&mut self, poller: &Poller, number: ConnectionId, interest: Interest) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        if client.interest == interest {
            return;
        }
        match poller.modify(&client.socket, Token::Client(number), interest) {
            Ok(()) => client.interest = interest,
            Err(errno) => {
                debug!("cannot change what {} is waited for: {errno}", number.0);
                self.starved.insert(number);
            }
        }
    }

    /// Sends what waits for a connection, as far as that is possible without waiting.
    fn send(&mut self, common: &mut Common<'_>, number: ConnectionId) -> Progress {
        while let Some(pending) = self.roster.pending(number) {
            let Some(client) = self.clients.get(&number) else {
                return Progress::Done;
            };
            let socket = client.socket.as_fd();
            let descriptor = match pending.descriptor_of() {
                None => None,
                Some(message) => {
                    match descriptor(message, &mut self.memory, &self.doorbells, client.read_only) {
                        Ok(fd) => Some(fd),
                        Err(Errno::NOENT) => return Progress::Broken(Errno::NOENT),
                        Err(errno) => return Progress::Starved(errno),
                    }
                }
            };
            match common.ledger.may_send(socket, number) {
                MaySend::Now => {}
                MaySend::WhenRead => return Progress::Unread,
                MaySend::Soon => return Progress::Starved(Errno::BUSY),
            }
            let result = send_pending(socket, &pending, descriptor);
            let bytes = result.unwrap_or(0);
            common.ledger.record(|| Record::Sent { number, bytes });
            match result {
                Ok(bytes) => self.roster.advance(number, bytes),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Progress::Blocked,
                // TOOMANYREFS: too many descriptors of this user are in sockets, unread.
                Err(errno @ (Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM)) => {
                    return Progress::Starved(errno)
                }
                Err(errno) => return Progress::Broken(errno),
            }
        }
        Progress::Done
    }
}

/// The descriptor that belongs to a message that has one.
fn descriptor<'region>(
    message: ServerMessage,
    memory: &'region mut Memory,
    doorbells: &'region BTreeMap<PeerId, Doorbells>,
    read_only: bool,
) -> Result<BorrowedFd<'region>, Errno> {
    match message {
        // The queue holds no vector of one who left for good. Those of a lasting ID can be missing
        // after a restart, if the service manager did not take them.
        ServerMessage::Vector { peer, vector } => {
            let doorbells = doorbells.get(&peer).ok_or(Errno::NOENT)?;
            Ok(doorbells.get(vector))
        }
        _ if read_only => memory.read_only(),
        _ => {
            let memory: &Memory = memory;
            Ok(memory.as_fd())
        }
    }
}

#[cfg(test)]
mod tests;
