// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! How a server comes to be: from its configuration and what the server before it left.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tracing::info;

use crate::client::refuse;
use crate::control::ControlSocket;
use crate::door::{self, Door};
use crate::error::system;
use crate::listeners::Listeners;
use crate::poller::{Interest, Poller, Token};
use crate::restore;
use crate::server::{spare_descriptor, state, Source};
use crate::status::StatusSocket;
use crate::succession::hand_over::TakeOver;
use crate::succession::inheritance::Inheritance;
use crate::succession::keeper::Keeper;
use crate::succession::manager::ServiceManager;
use crate::succession::names;
use crate::succession::predecessor::Predecessor;
use crate::trigger::Triggers;
use crate::{Access, BindError, Config, Server};

impl Server {
    /// Creates the memory and listens on the sockets. Clients can connect from then on, but are
    /// not served before [`run`](Self::run).
    ///
    /// # Errors
    ///
    /// Any [`BindError`]. Nothing is left behind then.
    pub fn bind(config: impl Into<Config>) -> Result<Self, BindError> {
        Self::start(config, Inheritance::default(), None, Triggers::new()?)
    }

    /// As [`bind`](Self::bind), with what was passed to this process: listening sockets, and
    /// all that a server before this one left. If `successor` is given, that service manager
    /// keeps all that a server after this one needs, even if this one is killed.
    ///
    /// The files of a server that still runs are left to it, until [`TakeOver::finish`]. To allocate the memory
    /// can take long; [`Triggers::stop`] ends that, too.
    ///
    /// # Errors
    ///
    /// Any [`BindError`]. What was passed in is closed then.
    pub fn start(
        config: impl Into<Config>,
        mut inheritance: Inheritance,
        successor: Option<ServiceManager>,
        triggers: Triggers,
    ) -> Result<Self, BindError> {
        let config = config.into();
        config.check()?;
        let (kept, is_shared) = (inheritance.counts(), inheritance.is_shared());
        let mut before = Predecessor::read(&mut inheritance)
            .map_err(|error| BindError::Inheritance(error.to_string()))?;
        let mut open = |name, path: &Option<PathBuf>| {
            door::open(name, path.as_deref(), &Access::default(), &mut inheritance)
        };
        let status = open(names::STATUS_DOOR, &config.status_socket)?;
        let control = open(names::CONTROL_DOOR, &config.control_socket)?;
        let hand_over = open(names::HAND_OVER_DOOR, &config.hand_over)?;
        let doors = door::open_all(&config, &mut inheritance)?;
        let poller = Poller::new().map_err(system("create an epoll instance"))?;
        let in_flight = config.in_flight();
        let mut regions = Vec::new();
        for region in &config.regions {
            let left = before.state.regions.remove(&region.name);
            let mut region = restore::restore(region, left, &mut inheritance, &triggers)?;
            restore::resume(&mut region, &mut before, &poller, &in_flight)?;
            regions.push(region);
        }
        if let Some((name, _)) = before.state.regions.into_iter().next() {
            return Err(BindError::LostRegion(name));
        }
        let reserve = spare_descriptor().map_err(system("create an eventfd"))?;
        let mut server = Self {
            poller,
            listeners: Listeners {
                doors,
                status: status.map(StatusSocket::new),
                control: control.map(ControlSocket::new),
                hand_over,
            },
            paused: false,
            complaint: None,
            reserve: Some(reserve),
            triggers,
            source: Source::default(),
            regions,
            keeper: Keeper::new(before.journal),
            next_connection: before.state.next_connection,
            in_flight,
        };
        if let Some(manager) = successor {
            let batch = server.keeper.batch();
            state(&server.regions, server.next_connection, batch)
                .and_then(|state| server.keeper.begin(manager, kept, &state))
                .map_err(|source| BindError::System {
                    action: "have the service manager keep descriptors",
                    source,
                })?;
            server.keep_all();
        }
        server.watch_all()?;
        if !is_shared {
            server.own();
        }
        server.clean_up();
        // Those who were accepted by the server before this one, but not let in.
        for (door, socket) in before.sockets.into_values() {
            server.readmit(&door, socket);
        }
        server.log_start();
        Ok(server)
    }

    fn watch_all(&self) -> Result<(), BindError> {
        let watch = |fd: &dyn std::os::fd::AsFd, token| {
            self.poller
                .add(fd.as_fd(), token, Interest::READ)
                .map_err(system("add to the epoll instance"))
        };
        watch(&self.triggers.stopped, Token::Stop)?;
        watch(&self.triggers.asked, Token::Report)?;
        watch(&self.triggers.changed, Token::Reload)?;
        for (_, listener, token) in self.listeners.all() {
            watch(listener, token)?;
        }
        Ok(())
    }

    /// Drops members of whom something is missing, and wakes up the others.
    fn clean_up(&mut self) {
        let (regions, mut common) = self.split();
        for region in regions {
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
        match self
            .listeners
            .doors
            .iter()
            .position(|found| found.name == door)
        {
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
        for Door { name, listener, .. } in &self.listeners.doors {
            info!("listening for {name} at {listener}");
        }
    }
}

impl TakeOver {
    /// Tells the other server that it may end, waits until it has, and takes care of its files from then on.
    ///
    /// # Errors
    ///
    /// It goes on, as it has waited for too long.
    pub fn finish(self, server: &mut Server) -> io::Result<()> {
        self.wait()?;
        server.own();
        Ok(())
    }
}
