// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! How a server comes to be: from its configuration and what the server before it left.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ivshmem_protocol::{Membership, PeerId};
use tracing::{error, info};

use crate::client::refuse;
use crate::door::{self, Door};
use crate::doorbells::Doorbells;
use crate::error::system;
use crate::memory::Memory;
use crate::poller::{Interest, Poller, Token};
use crate::region::Region;
use crate::server::{spare_descriptor, state};
use crate::status::StatusSocket;
use crate::succession::hand_over::TakeOver;
use crate::succession::inheritance::Inheritance;
use crate::succession::journal::Journal;
use crate::succession::keeper::Keeper;
use crate::succession::manager::ServiceManager;
use crate::succession::names;
use crate::succession::predecessor::Predecessor;
use crate::succession::state::RegionState;
use crate::trigger::Trigger;
use crate::{Access, BindError, Config, RegionConfig, Server};

impl Server {
    /// Creates the memory and listens on the sockets. Clients can connect from then on, but are
    /// not served before [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// Any [`BindError`]. Nothing is left behind then.
    pub fn bind(config: impl Into<Config>) -> Result<Self, BindError> {
        Self::start(config, Inheritance::default(), None)
    }

    /// As [`bind`](Self::bind), with what was passed to this process: listening sockets, and
    /// all that a server before this one left. If `successor` is given, that service manager
    /// keeps all that a server after this one needs, even if this one is killed.
    ///
    /// # Errors
    ///
    /// Any [`BindError`]. What was passed in is closed then.
    pub fn start(
        config: impl Into<Config>,
        mut inheritance: Inheritance,
        successor: Option<ServiceManager>,
    ) -> Result<Self, BindError> {
        let config = config.into();
        config.check()?;
        let kept = inheritance.counts();
        let mut before = Predecessor::read(&mut inheritance)
            .map_err(|error| BindError::Inheritance(error.to_string()))?;
        let mut open = |name, path: &Option<PathBuf>| {
            door::open(name, path.as_deref(), &Access::default(), &mut inheritance)
        };
        let status = open(names::STATUS_DOOR, &config.status_socket)?;
        let hand_over = open(names::HAND_OVER_DOOR, &config.hand_over)?;
        let doors = door::open_all(&config, &mut inheritance)?;
        let poller = Poller::new().map_err(system("create an epoll instance"))?;
        let mut regions = Vec::new();
        for region in &config.regions {
            let left = before.state.regions.remove(&region.name);
            let mut region = restore(region, left, &mut inheritance)?;
            resume(&mut region, &mut before, &poller)?;
            regions.push(region);
        }
        if let Some((name, _)) = before.state.regions.into_iter().next() {
            return Err(BindError::LostRegion(name));
        }
        let (stop, stopped) = Trigger::pair().map_err(system("create a socket pair"))?;
        let (report, asked) = Trigger::pair().map_err(system("create a socket pair"))?;
        let reserve = spare_descriptor().map_err(system("create an eventfd"))?;
        let mut server = Self {
            poller,
            doors,
            paused: false,
            complaint: None,
            reserve: Some(reserve),
            stop,
            report,
            stopped,
            asked,
            regions,
            status: status.map(StatusSocket::new),
            hand_over,
            keeper: Keeper::new(before.journal),
            next_connection: before.state.next_connection,
            in_flight: config.in_flight(),
        };
        if let Some(manager) = successor {
            server
                .keep_all(manager, kept)
                .map_err(|source| BindError::System {
                    action: "have the service manager keep descriptors",
                    source,
                })?;
        }
        server.watch_all()?;
        server.own();
        server.clean_up();
        // Those who were accepted by the server before this one, but not let in.
        for (door, socket) in before.sockets.into_values() {
            server.readmit(&door, socket);
        }
        server.log_start();
        Ok(server)
    }

    /// Has everything kept for a successor that is not kept yet, and nothing else.
    fn keep_all(&mut self, manager: ServiceManager, kept: BTreeMap<String, u64>) -> io::Result<()> {
        let before: BTreeSet<String> = kept.keys().cloned().collect();
        let state = state(&self.regions, self.next_connection, self.keeper.batch())?;
        self.keeper.begin(manager, kept, &state)?;
        let mut keeper = std::mem::replace(&mut self.keeper, Keeper::new(Journal::new()?));
        let mut needed = BTreeSet::from([names::JOURNAL.to_owned()]);
        for (name, fds) in self.descriptors() {
            if !before.contains(&name) {
                keeper.keep(&name, &fds);
            }
            needed.insert(name);
        }
        before
            .difference(&needed)
            .for_each(|name| keeper.drop_kept(name));
        self.keeper = keeper;
        Ok(())
    }

    fn watch_all(&self) -> Result<(), BindError> {
        let watch = |fd: &dyn std::os::fd::AsFd, token| {
            self.poller
                .add(fd.as_fd(), token, Interest::READ)
                .map_err(system("add to the epoll instance"))
        };
        watch(&self.stopped, Token::Stop)?;
        watch(&self.asked, Token::Report)?;
        for (listener, token) in self.listeners() {
            watch(listener, token)?;
        }
        Ok(())
    }

    /// Drops members of whom something is missing, and wakes up the others.
    fn clean_up(&mut self) {
        let mut common = crate::region::Common {
            poller: &self.poller,
            keeper: &mut self.keeper,
            in_flight: self.in_flight,
        };
        for region in &mut self.regions {
            for number in region.membership.connections().collect::<Vec<_>>() {
                let id = region.membership.id_of(number);
                let whole = region.membership.is_leaving(number)
                    || id.is_some_and(|id| region.doorbells.contains_key(&id));
                if region.clients.contains_key(&number) && whole {
                    region.touch(number);
                } else {
                    region.remove(&mut common, number, "it went while there was no server");
                }
            }
        }
    }

    /// Lets in, or refuses, a client that another server accepted but said nothing to.
    fn readmit(&mut self, door: &str, socket: OwnedFd) {
        match self.doors.iter().position(|found| found.name == door) {
            Some(index) => self.receive(index, socket),
            None => refuse(&socket),
        }
    }

    fn log_start(&self) {
        for region in &self.regions {
            let config = &region.config;
            info!(
                "{}: size {}, {} vectors, {} of at most {} peers",
                config.name,
                config.size,
                config.vectors,
                region.membership.len(),
                config.max_peers
            );
        }
        for Door { name, .. } in &self.doors {
            info!("listening for {name}");
        }
    }
}

impl TakeOver {
    /// Tells the other server that it may end, and waits until it has. If it goes on instead, all
    /// files are left to it.
    ///
    /// # Errors
    ///
    /// It goes on, as it has waited for too long.
    pub fn finish(self, server: &mut Server) -> io::Result<()> {
        self.wait().inspect_err(|_| server.abandon())
    }
}

/// Makes a region from its configuration and what is left of the one before.
fn restore(
    config: &RegionConfig,
    left: Option<RegionState<'_>>,
    inheritance: &mut Inheritance,
) -> Result<Region, BindError> {
    let memory = match inheritance.take(&names::memory(&config.name)) {
        Some(fd) => Memory::adopt(fd, config)?,
        None if left.is_some() => return Err(lost(config, "the memory is missing")),
        None => Memory::create(config)?,
    };
    let (mut membership, order) = match left {
        Some(left) => {
            check_vectors(config, left.vectors.get())?;
            (left.membership.into_owned(), left.doorbells)
        }
        None => (Membership::new(0), BTreeMap::new()),
    };
    membership.set_limit(config.max_peers as usize);
    for peer in &config.peers {
        membership
            .reserve(peer.id.into())
            .map_err(|error| BindError::FixedId(config.name.clone(), error))?;
    }
    let mut region = Region::new(config.clone(), memory, membership)?;
    for (id, order) in order {
        // The records do not say when eventfds are done with, as the membership does.
        if !region.membership.contains(id) && !region.membership.is_lasting(id) {
            continue;
        }
        let fds = inheritance.take_all(&names::doorbells(&config.name, id));
        let read = Doorbells::adopt(fds, &order).map_err(|error| lost(config, error))?;
        match read {
            Some(doorbells) => {
                check_fixed_vectors(config, id, &doorbells)?;
                region.doorbells.insert(id, doorbells);
            }
            // The service manager did not take all of them.
            None => error!("{}: eventfds of client {id} are missing", config.name),
        }
    }
    Ok(region)
}

/// Goes on with the connections of the server before.
fn resume(region: &mut Region, before: &mut Predecessor, poller: &Poller) -> Result<(), BindError> {
    for number in region.membership.connections().collect::<Vec<_>>() {
        if let Some((door, socket)) = before.sockets.remove(&number) {
            region
                .resume(poller, number, door, socket)
                .map_err(system("add to the epoll instance"))?;
        }
    }
    Ok(())
}

/// Who is there has as many vectors as before, and so has to have who comes: QEMU needs a number that it
/// can rely on.
fn check_vectors(config: &RegionConfig, had: u16) -> Result<(), BindError> {
    if had == config.vectors {
        return Ok(());
    }
    Err(BindError::InheritedVectors {
        region: config.name.clone(),
        had,
        wanted: config.vectors,
    })
}

fn check_fixed_vectors(
    config: &RegionConfig,
    id: PeerId,
    doorbells: &Doorbells,
) -> Result<(), BindError> {
    let Some(peer) = config.peers.iter().find(|peer| peer.id == id.get()) else {
        return Ok(());
    };
    let wanted = peer.checked_vectors(config)?.get();
    if doorbells.len() == usize::from(wanted) {
        return Ok(());
    }
    Err(BindError::FixedVectors {
        region: config.name.clone(),
        id,
        had: doorbells.len(),
        wanted,
    })
}

fn lost(config: &RegionConfig, why: impl ToString) -> BindError {
    BindError::Inheritance(format!("region {}: {}", config.name, why.to_string()))
}
