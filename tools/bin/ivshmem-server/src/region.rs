// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! One shared memory and the clients that share it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use ivshmem_protocol::{ConnectionId, JoinError, Membership, PeerId, ServerMessage};
use rustix::io::Errno;
use tracing::{debug, info, warn};

use crate::bounds::JOIN_BURST;
use crate::client::{Client, Loan, Progress, Received};
use crate::counters::Counters;
use crate::doorbells::Doorbells;
use crate::in_flight::InFlight;
use crate::memory::Memory;
use crate::poller::{Interest, Poller, Ready, Token};
use crate::rate::Bucket;
use crate::succession::keeper::Keeper;
use crate::succession::names;
use crate::succession::page::AT_ONCE;
use crate::succession::state::{Record, RegionState};
use crate::sys::{self, Credentials};
use crate::{BindError, RegionConfig};

/// What all regions use.
pub(crate) struct Common<'server> {
    pub poller: &'server Poller,
    pub keeper: &'server mut Keeper,
    pub in_flight: &'server mut InFlight,
}

/// One shared memory and the clients that share it.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) config: RegionConfig,
    /// Vectors of each client that has no number of its own.
    pub(crate) vectors: NonZeroU16,
    pub(crate) memory: Memory,
    pub(crate) membership: Membership,
    pub(crate) counters: Counters,
    /// The connections that the membership knows.
    pub(crate) clients: BTreeMap<ConnectionId, Client>,
    /// Eventfds of all members, and of the lasting IDs that anybody ever had.
    pub(crate) doorbells: BTreeMap<PeerId, Doorbells>,
    /// Connections that have been told all. The others are in one of the next two sets, or have to read
    /// first, which the poller waits for.
    idle: BTreeSet<ConnectionId>,
    /// Connections to which something can be sent, as far as known.
    dirty: BTreeSet<ConnectionId>,
    /// Connections to which sending has to be tried again after a while.
    starved: BTreeSet<ConnectionId>,
    /// Whether it was said that there are such.
    complained: bool,
    /// Whether nobody else is let in, as the operator wants.
    pub(crate) drained: bool,
    /// How many joins each user has left, of those who do not have all.
    joins: BTreeMap<u32, Bucket>,
}

impl Region {
    /// A region, with what may be left of one before it.
    pub(crate) fn new(
        config: RegionConfig,
        memory: Memory,
        membership: Membership,
    ) -> Result<Self, BindError> {
        Ok(Self {
            vectors: config.checked_vectors()?,
            config,
            memory,
            membership,
            counters: Counters::default(),
            clients: BTreeMap::new(),
            doorbells: BTreeMap::new(),
            idle: BTreeSet::new(),
            dirty: BTreeSet::new(),
            starved: BTreeSet::new(),
            complained: false,
            drained: false,
            joins: BTreeMap::new(),
        })
    }

    /// Whether a client of this user may join now. If so, it has one join less from now on.
    pub(crate) fn may_join(&mut self, uid: u32, now: Instant) -> bool {
        let (burst, rate) = (
            JOIN_BURST.saturating_mul(self.config.max_peers),
            self.config.join_rate,
        );
        self.joins.retain(|_, bucket| !bucket.is_full(now));
        let new = || Bucket::new(burst.into(), f64::from(rate) / 60.0, now);
        rate == 0 || self.joins.entry(uid).or_insert_with(new).take(now, 1.0)
    }

    /// Lets each user begin anew, as another rate would not be that of one who has joined before.
    pub(crate) fn forget_joins(&mut self) {
        self.joins.clear();
    }

    /// Makes a connection a member, for which all has been prepared. Gives the socket back if
    /// there is no place after all.
    pub(crate) fn enter(
        &mut self,
        number: ConnectionId,
        fixed: Option<PeerId>,
        vectors: NonZeroU16,
        client: Client,
    ) -> Result<(), (JoinError, OwnedFd)> {
        let id = match self.membership.join(number, fixed, vectors) {
            Ok(id) => id,
            Err(error) => return Err((error, client.socket)),
        };
        let (name, pid) = (&self.config.name, client.credentials.pid.unwrap_or(0));
        let (uid, count) = (client.credentials.uid, self.membership.len());
        info!("{name}: peer {id} joined (pid {pid}, uid {uid}), {count} connected");
        self.counters.joined += 1;
        self.clients.insert(number, client);
        self.dirty.insert(number);
        self.tell_all();
        Ok(())
    }

    /// Goes on with a connection of the server before this one, which the membership knows.
    pub(crate) fn resume(
        &mut self,
        poller: &Poller,
        in_flight: &InFlight,
        number: ConnectionId,
        door: String,
        socket: OwnedFd,
    ) -> Result<(), Errno> {
        in_flight.take_over(&socket)?;
        let interest = Interest {
            read: !self.membership.is_leaving(number),
            write: false,
        };
        poller.add(&socket, Token::Client(number), interest)?;
        let mut peers = self.config.peers.iter();
        let peer = peers.find(|peer| names::door(&self.config.name, Some(&peer.name)) == door);
        let client = Client {
            interest,
            credentials: sys::credentials(socket.as_fd()).unwrap_or(Credentials::UNKNOWN),
            read_only: peer.is_some_and(|peer| peer.read_only),
            loan: Loan::None,
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
        if self.membership.is_leaving(number) {
            // What it sends is of no interest any more, only whether it is there.
            if ready.hung_up {
                self.remove(common, number, "it closed the connection");
            }
        } else if ready.readable {
            match client.receive() {
                Received::Nothing => {}
                Received::Bytes => {
                    self.counters.expelled += 1;
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
            self.idle.remove(&number);
            self.dirty.insert(number);
        }
    }

    /// Notes that something happened which all may have to be told. Those who have not heard of what
    /// happened before will hear of this when they have.
    fn tell_all(&mut self) {
        self.dirty.append(&mut self.idle);
    }

    /// Number of connections to which sending has to be tried again without an event.
    pub(crate) fn starved(&self) -> usize {
        self.starved.len()
    }

    /// Marks those to whom sending failed for want of something to be tried again.
    pub(crate) fn retry_starved(&mut self) {
        self.dirty.append(&mut self.starved);
    }

    /// Sends all that can be sent, and drops whom that shows to be gone.
    pub(crate) fn settle(&mut self, common: &mut Common<'_>) {
        // The newest first: when sending is short of something, what there is goes to those whose QEMU
        // stands still until it has its handshake.
        while let Some(number) = self.dirty.pop_last() {
            self.flush(common, number);
        }
        self.complained &= !self.starved.is_empty();
    }

    /// Lets go of all clients. They are not told that the others leave, for the others stay.
    pub(crate) fn finish(&mut self, common: &mut Common<'_>) {
        let all: Vec<_> = self.membership.connections().collect();
        for number in &all {
            self.membership.expel(*number);
        }
        for number in all {
            self.send(common, number);
        }
        self.clients.clear();
        self.doorbells.clear();
    }

    /// What a successor has to know.
    pub(crate) fn state(&self) -> std::io::Result<RegionState<'_>> {
        let numbers = |(id, doorbells): (&PeerId, &Doorbells)| Ok((*id, doorbells.numbers()?));
        Ok(RegionState {
            vectors: self.vectors,
            drained: self.drained,
            membership: Cow::Borrowed(&self.membership),
            doorbells: self
                .doorbells
                .iter()
                .map(numbers)
                .collect::<Result<_, std::io::Error>>()?,
        })
    }

    /// Drops a connection that is over.
    pub(crate) fn remove(&mut self, common: &mut Common<'_>, number: ConnectionId, reason: &str) {
        common.keeper.record(|| Record::Removed { number });
        self.leave(common, number, reason, Membership::remove);
        if let Some(client) = self.clients.remove(&number) {
            common.poller.remove(&client.socket);
            let name = names::connection(number, &client.door);
            common.keeper.drop_kept(&name);
            if client.loan != Loan::None {
                common.in_flight.regain();
            }
        }
        for set in [&mut self.idle, &mut self.dirty, &mut self.starved] {
            set.remove(&number);
        }
    }

    /// Lets nobody else in, or ends that.
    pub(crate) fn set_drained(&mut self, common: &mut Common<'_>, drained: bool) {
        self.drained = drained;
        let region = self.config.name.clone();
        common.keeper.record(|| Record::Drained { region, drained });
    }

    /// Drops the client that has an ID, as the operator wants. Returns whether there is one.
    pub(crate) fn dismiss(&mut self, common: &mut Common<'_>, id: PeerId) -> bool {
        let member = self.membership.contains(id);
        let found = self.membership.connection_of(id).filter(|_| member);
        if let Some(number) = found {
            self.counters.dismissed += 1;
            self.expel(common, number, "the operator dropped it");
        }
        found.is_some()
    }

    /// Drops a client as soon as it has its handshake; before that, QEMU could not cope.
    fn expel(&mut self, common: &mut Common<'_>, number: ConnectionId, reason: &str) {
        common.keeper.record(|| Record::Expelled { number });
        self.leave(common, number, reason, Membership::expel);
        // It may have its handshake already.
        self.touch(number);
    }

    /// Ends a membership and tells the others.
    fn leave(
        &mut self,
        common: &mut Common<'_>,
        number: ConnectionId,
        reason: &str,
        how: impl FnOnce(&mut Membership, ConnectionId) -> bool,
    ) {
        let id = self.membership.id_of(number);
        let was_member = how(&mut self.membership, number);
        let Some(id) = id.filter(|_| was_member) else {
            return;
        };
        self.tell_all();
        let (name, left) = (&self.config.name, self.membership.len());
        info!("{name}: peer {id} left, {left} connected: {reason}");
        self.counters.left += 1;
        if !self.membership.is_lasting(id) {
            self.doorbells.remove(&id);
            common.keeper.drop_kept(&names::doorbells(name, id));
        }
    }

    fn flush(&mut self, common: &mut Common<'_>, number: ConnectionId) {
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        if client.loan == Loan::Told && common.in_flight.take_back(&client.socket) {
            client.loan = Loan::None;
        }
        let progress = self.send(common, number);
        let leaving = self.membership.is_leaving(number);
        match progress {
            Progress::Broken(errno) => return self.remove(common, number, &errno.to_string()),
            Progress::Done if leaving => return self.remove(common, number, "it was dropped"),
            Progress::Starved(errno) => {
                self.starved.insert(number);
                self.complain(errno);
            }
            Progress::Done => {
                self.idle.insert(number);
                let client = self.clients.get_mut(&number);
                if let Some(client) = client.filter(|client| client.loan == Loan::Greeting) {
                    client.loan = Loan::Told;
                }
            }
            Progress::Blocked => {}
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

    /// Says in the log that sending has to wait, once until that is over.
    fn complain(&mut self, errno: Errno) {
        if std::mem::replace(&mut self.complained, true) {
            return;
        }
        let why = match errno {
            // Of all processes of this user, if it has no privileges.
            Errno::TOOMANYREFS => {
                "too many descriptors of this user are in sockets, unread; raise the limit of \
                                   open files (ulimit -Hn, LimitNOFILE=), or lower --max-peers"
            }
            _ => "trying again",
        };
        warn!(
            "{}: sending to some clients has to wait: {errno}: {why}",
            self.config.name
        );
    }

    /// Sends what waits for a connection, as far as that is possible without waiting.
    fn send(&mut self, common: &mut Common<'_>, number: ConnectionId) -> Progress {
        let Some(client) = self.clients.get(&number) else {
            return Progress::Done;
        };
        let mut messages = Vec::with_capacity(AT_ONCE);
        loop {
            messages.clear();
            let mut all = true;
            for message in self.membership.next_messages(number, AT_ONCE) {
                match descriptor(message, &self.memory, &self.doorbells, client.read_only) {
                    Ok(fd) => messages.push((message.to_bytes(), fd)),
                    Err(errno) if !messages.is_empty() => {
                        debug!("{errno} at a later message");
                        all = false;
                        break;
                    }
                    Err(Errno::NOENT) => return Progress::Broken(Errno::NOENT),
                    Err(errno) => return Progress::Starved(errno),
                }
            }
            if messages.is_empty() {
                return Progress::Done;
            }
            match common.keeper.send(client.socket.as_fd(), number, &messages) {
                Ok(sent) => {
                    self.membership.advance(number, sent);
                    // If it is for another reason than want of room, that is seen the next time.
                    if sent < messages.len() {
                        return Progress::Blocked;
                    }
                    // There were no more to be taken.
                    if all && sent < AT_ONCE {
                        return Progress::Done;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Progress::Blocked,
                Err(errno @ (Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM)) => {
                    return Progress::Starved(errno)
                }
                Err(errno) => return Progress::Broken(errno),
            }
        }
    }
}

/// The descriptor that belongs to a message, if it has one.
fn descriptor<'region>(
    message: ServerMessage,
    memory: &'region Memory,
    doorbells: &'region BTreeMap<PeerId, Doorbells>,
    read_only: bool,
) -> Result<Option<BorrowedFd<'region>>, Errno> {
    match message {
        // Those of a lasting ID can be missing after a restart, if the service manager did not take them.
        ServerMessage::Vector { peer, vector } => {
            let doorbells = doorbells.get(&peer).ok_or(Errno::NOENT)?;
            Ok(Some(doorbells.get(vector)))
        }
        ServerMessage::SharedMemory if read_only => memory.read_only().map(Some),
        ServerMessage::SharedMemory => Ok(Some(memory.as_fd())),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
