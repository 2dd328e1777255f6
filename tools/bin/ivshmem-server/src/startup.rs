// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! How a server comes to be: from its configuration and what the server before it left.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ivshmem_protocol::PeerId;
use tracing::{error, info};

use crate::client::refuse;
use crate::door::{self, Door};
use crate::doorbells::Doorbells;
use crate::error::system;
use crate::hand_over::TakeOver;
use crate::inheritance::Inheritance;
use crate::journal::RegionSnapshot;
use crate::ledger::Ledger;
use crate::legacy::Legacy;
use crate::memory::Memory;
use crate::names;
use crate::poller::{Interest, Poller, Token};
use crate::region::Region;
use crate::roster::Roster;
use crate::server::{snapshot, sockets, spare_descriptor};
use crate::status::StatusSocket;
use crate::store::ServiceManager;
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
        let kept: BTreeSet<_> = inheritance.names().into_iter().collect();
        let mut legacy = Legacy::read(&mut inheritance)?;
        let mut open = |name, path: &Option<PathBuf>| {
            door::open(name, path.as_deref(), &Access::default(), &mut inheritance)
        };
        let status = open(names::STATUS_DOOR, &config.status_socket)?;
        let hand_over = open(names::HAND_OVER_DOOR, &config.hand_over)?;
        let doors = door::open_all(&config, &mut inheritance)?;
        let poller = Poller::new().map_err(system("create an epoll instance"))?;
        let mut regions = Vec::new();
        for region in &config.regions {
            let left = legacy.regions.remove(&region.name);
            regions.push(restore(
                region,
                left,
                &mut legacy,
                &mut inheritance,
                &poller,
            )?);
        }
        if let Some((name, _)) = legacy.regions.into_iter().next() {
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
            ledger: Ledger::off(),
            next_connection: legacy.next_connection,
        };
        if let Some(manager) = successor {
            server.keep_all(manager, legacy.generation + 1, &kept)?;
        }
        server.watch_all()?;
        server.own();
        server.clean_up();
        // Those who were accepted by the server before this one, but not let in.
        for (door, socket) in legacy.sockets.into_values() {
            server.readmit(&door, socket);
        }
        server.log_start();
        Ok(server)
    }

    /// Has everything kept for a successor that is not kept yet, and nothing else.
    fn keep_all(
        &mut self,
        manager: ServiceManager,
        generation: u64,
        kept: &BTreeSet<String>,
    ) -> Result<(), BindError> {
        let failed = |error: std::io::Error| BindError::System {
            action: "have the service manager keep descriptors",
            source: error,
        };
        let estate = self.estate();
        for (name, fds) in &estate {
            if !kept.contains(name) {
                manager.keep(name, fds).map_err(|e| failed(e.into()))?;
            }
        }
        let needed: BTreeSet<_> = estate.into_iter().map(|(name, _)| name).collect();
        let state = snapshot(&self.regions, self.next_connection).map_err(failed)?;
        self.ledger =
            Ledger::begin(manager, generation, &state, sockets(&self.regions)).map_err(failed)?;
        for name in kept.iter().filter(|name| names::is_ours(name)) {
            if !needed.contains(name) {
                self.ledger.drop_kept(name);
            }
        }
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
        self.watch_witness();
        Ok(())
    }

    /// Drops members of whom something is missing, and wakes up the others.
    fn clean_up(&mut self) {
        let mut common = crate::region::Common {
            poller: &self.poller,
            ledger: &mut self.ledger,
        };
        for region in &mut self.regions {
            for number in region.roster.connections().collect::<Vec<_>>() {
                let id = region.roster.id_of(number);
                let whole = region.roster.is_leaving(number)
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
                region.roster.membership().len(),
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
    left: Option<RegionSnapshot<Roster>>,
    legacy: &mut Legacy,
    inheritance: &mut Inheritance,
    poller: &Poller,
) -> Result<Region, BindError> {
    let memory = match inheritance.take(&names::memory(&config.name)) {
        Some(fd) => Memory::adopt(fd, config)?,
        None if left.is_some() => return Err(lost(config, "the memory is missing")),
        None => Memory::create(config)?,
    };
    let (mut roster, order) = match left {
        Some(left) => (left.roster, left.doorbells),
        None => (Roster::new(), Default::default()),
    };
    let most = config.peers.iter().filter_map(|peer| peer.vectors);
    let most = most.chain([config.vectors]).max().unwrap_or(0);
    roster.set_limits(config.max_peers as usize, most.into());
    for peer in &config.peers {
        roster
            .membership_mut()
            .reserve(peer.id.into())
            .map_err(|error| BindError::FixedId(config.name.clone(), error))?;
    }
    let mut region = Region::new(config.clone(), memory, roster)?;
    for (id, order) in order {
        // The records do not say when eventfds are done with, as the membership does.
        let membership = region.roster.membership();
        if !membership.contains(id) && !membership.is_lasting(id) {
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
    for number in region.roster.connections().collect::<Vec<_>>() {
        if let Some((door, socket)) = legacy.sockets.remove(&number) {
            region
                .resume(poller, number, door, socket)
                .map_err(system("add to the epoll instance"))?;
        }
    }
    Ok(region)
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
