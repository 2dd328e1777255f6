// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The server: one thread that waits for events and handles them.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ivshmem_protocol::ConnectionId;
use rustix::event::{eventfd, EventfdFlags};
use rustix::io::Errno;
use rustix::process::{getrlimit, Resource};
use tracing::{error, info, warn};

use crate::admission;
use crate::client::{refuse, Loan};
use crate::control;
use crate::descriptors;
use crate::in_flight::InFlight;
use crate::listener::Listener;
use crate::listeners::Listeners;
use crate::poller::{Interest, Poller, Ready, Token};
use crate::region::{Common, Region};
use crate::reload;
use crate::report::{RegionReport, Report};
use crate::succession::hand_over;
use crate::succession::journal::Journal;
use crate::succession::keeper::Keeper;
use crate::succession::state::State;
use crate::trigger::{self, Trigger, Triggers};
use crate::Config;

/// Time after which something is tried again of which no event tells when it will work.
const RETRY: Duration = Duration::from_millis(50);

/// Connections accepted at a time, so that clients that leave are not kept waiting by clients
/// that come.
const ACCEPT_BATCH: usize = 64;

/// A server that listens. Dropping it removes its sockets and closes all connections.
#[derive(Debug)]
pub struct Server {
    pub(crate) poller: Poller,
    pub(crate) listeners: Listeners,
    /// Whether the listening sockets are not waited for, as accepting failed.
    pub(crate) paused: bool,
    /// Why it failed, as was said in the log.
    pub(crate) complaint: Option<Errno>,
    /// Descriptor that is given up to accept, and refuse, a client when there is no other.
    pub(crate) reserve: Option<OwnedFd>,
    pub(crate) triggers: Triggers,
    pub(crate) source: Source,
    pub(crate) regions: Vec<Region>,
    pub(crate) keeper: Keeper,
    pub(crate) next_connection: u64,
    pub(crate) in_flight: InFlight,
}

/// How the configuration is read again, if it can be.
#[derive(Default)]
pub(crate) struct Source(pub Option<Box<dyn FnMut() -> Result<Config, String> + Send>>);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.0.is_some()).finish()
    }
}

/// Why a server ends.
enum End {
    Stopped,
    Succeeded,
}

impl Server {
    /// A trigger that ends [`run`](Self::run).
    pub fn stop_trigger(&self) -> Trigger {
        self.triggers.stop.clone()
    }

    /// A trigger that has [`run`](Self::run) make a report.
    pub fn report_trigger(&self) -> Trigger {
        self.triggers.report.clone()
    }

    /// A trigger that has [`run`](Self::run) read the configuration again, if it was told
    /// [how](Self::reload_by).
    pub fn reload_trigger(&self) -> Trigger {
        self.triggers.reload.clone()
    }

    /// Has the configuration read by this when the [trigger](Self::reload_trigger) for it is used. From
    /// then on clients are let in by its access lists and limits, and its new regions are served. All else
    /// stays as it is.
    pub fn reload_by(&mut self, read: impl FnMut() -> Result<Config, String> + Send + 'static) {
        self.source = Source(Some(Box::new(read)));
    }

    /// How the server stands.
    pub fn report(&self) -> Report {
        report(&self.regions, &self.keeper, self.in_flight.share())
    }

    /// Serves clients until it is told to stop, or a successor has taken over. Then removes the
    /// sockets and closes all connections, unless there is or may be a successor. Clients that
    /// still wait to be accepted are refused, or left to the successor.
    ///
    /// `on_report` is called with a report each time that the [trigger](Self::report_trigger)
    /// for it is used.
    ///
    /// # Errors
    ///
    /// Waiting for events failed, which no client can bring about. The end is as clean as
    /// otherwise.
    pub fn run(mut self, mut on_report: impl FnMut(&Report)) -> io::Result<()> {
        let result = self.serve(&mut on_report);
        match result {
            Ok(End::Succeeded) => {
                info!("a successor has taken over");
                self.abandon();
            }
            _ if self.keeper.is_on() => {
                info!("stopped; the service manager has all that a successor needs");
                self.abandon();
            }
            _ => self.shut_down(),
        }
        result.map(drop)
    }

    fn serve(&mut self, on_report: &mut impl FnMut(&Report)) -> io::Result<End> {
        self.settle();
        loop {
            let starved = self.regions.iter().any(|region| region.starved() > 0);
            let retry = self.paused || starved;
            let ready = self.poller.wait(retry.then_some(RETRY))?;
            if retry {
                self.regions.iter_mut().for_each(Region::retry_starved);
                self.resume_accepting();
            }
            let has = |token| ready.iter().any(|event| event.token == token);
            if has(Token::Stop) {
                return Ok(End::Stopped);
            }
            if has(Token::Report) {
                trigger::clear(&self.triggers.asked);
                on_report(&self.report());
            }
            if has(Token::Reload) {
                trigger::clear(&self.triggers.changed);
                self.read_again();
            }
            self.handle(&ready);
            self.settle();
            if has(Token::HandOverDoor) && self.hand_over() {
                return Ok(End::Succeeded);
            }
        }
    }

    fn handle(&mut self, ready: &[Ready]) {
        let (regions, mut common) = self.split();
        // Those who leave first: they make room for those who come.
        for event in ready {
            if let Token::Client(number) = event.token {
                for region in &mut *regions {
                    region.handle(&mut common, number, *event);
                }
            }
        }
        for event in ready {
            match event.token {
                Token::Door(index) => self.accept(index),
                Token::StatusDoor => self.accept_readers(),
                Token::StatusReader(number) => {
                    if let Some(status) = &mut self.listeners.status {
                        status.go_on(number);
                    }
                }
                Token::ControlDoor => self.accept_operators(),
                Token::Operator(number) => self.obey(number),
                _ => {}
            }
        }
    }

    /// The regions, and what they use.
    pub(crate) fn split(&mut self) -> (&mut [Region], Common<'_>) {
        let common = Common {
            poller: &self.poller,
            keeper: &mut self.keeper,
            in_flight: &mut self.in_flight,
        };
        (&mut self.regions, common)
    }

    /// Sends all that can be sent.
    pub(crate) fn settle(&mut self) {
        let (regions, mut common) = self.split();
        for region in regions {
            region.settle(&mut common);
        }
        let connections = self.regions.iter().map(|region| region.clients.len());
        if self.keeper.is_long(connections.sum()) {
            self.renew();
        }
    }

    /// Takes over what can change from the configuration, if that can be read.
    fn read_again(&mut self) {
        let Some(read) = &mut self.source.0 else {
            return;
        };
        let config = read().and_then(|config| match config.check() {
            Ok(()) => Ok(config),
            Err(why) => Err(why.to_string()),
        });
        match config {
            Err(why) => return error!("the configuration stays as it is: {why}"),
            Ok(new)
                if reload::apply(
                    &new,
                    &mut self.regions,
                    &mut self.listeners.doors,
                    &self.poller,
                    &self.triggers,
                ) =>
            {
                self.share_anew();
                // In this order: a successor must not hear of a region whose memory it has not got.
                self.keep_all();
                self.renew();
            }
            Ok(_) => {}
        }
        info!("the configuration was read again");
    }

    /// Gives the sockets of all clients their share of what can be in flight, now that there are other regions.
    fn share_anew(&mut self) {
        let regions = self.regions.iter();
        let configs = regions.map(|region| region.config.clone()).collect();
        self.in_flight = Config::new(configs).in_flight();
        let clients = self
            .regions
            .iter_mut()
            .flat_map(|region| region.clients.values_mut());
        for client in clients {
            client.loan = Loan::None;
            if let Err(errno) = self.in_flight.take_over(&client.socket) {
                warn!("a client keeps more room in its socket than its share: {errno}");
            }
        }
    }

    /// Begins the journal anew.
    fn renew(&mut self) {
        match state(&self.regions, self.next_connection, self.keeper.batch()) {
            Ok(state) => self.keeper.renew(&state),
            Err(error) => error!("cannot renew the journal: {error}"),
        }
    }

    fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPT_BATCH {
            match self.listeners.doors[index].listener.accept() {
                Ok(Some(socket)) => {
                    self.complaint = None;
                    self.receive(index, socket);
                }
                Ok(None) => return,
                Err(Errno::MFILE | Errno::NFILE) => match self.refuse_by_reserve(index) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(errno) => return self.pause_accepting(errno),
                },
                Err(errno) => return self.pause_accepting(errno),
            }
        }
    }

    /// Lets in, or refuses, whoever came through a door.
    pub(crate) fn receive(&mut self, index: usize, socket: OwnedFd) {
        let number = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let door = &self.listeners.doors[index];
        let region = &mut self.regions[door.region];
        let mut common = Common {
            poller: &self.poller,
            keeper: &mut self.keeper,
            in_flight: &mut self.in_flight,
        };
        admission::receive(region, &mut common, door, number, socket);
    }

    /// Refuses the next client by use of the reserved descriptor. Returns whether one waited,
    /// which accepting does not tell when there is no descriptor.
    fn refuse_by_reserve(&mut self, index: usize) -> Result<bool, Errno> {
        self.reserve = None;
        let door = &self.listeners.doors[index];
        let accepted = door.listener.accept();
        if let Ok(Some(socket)) = &accepted {
            warn!(target: admission::REFUSALS, "refusing a client: too many open files; raise the limit (ulimit -Hn)");
            self.regions[door.region]
                .counters
                .refuse(|refusals| &mut refusals.system);
            refuse(socket);
        }
        let waited = accepted.map(|socket| socket.is_some());
        // Without it, the next attempt fails, and accepting pauses.
        self.reserve = spare_descriptor().ok();
        waited
    }

    fn accept_readers(&mut self) {
        if let Some(status) = &mut self.listeners.status {
            let report = || report(&self.regions, &self.keeper, self.in_flight.share());
            if let Err(errno) = status.accept(&self.poller, report) {
                self.pause_accepting(errno);
            }
        }
    }

    fn accept_operators(&mut self) {
        if let Some(control) = &mut self.listeners.control {
            if let Err(errno) = control.accept(&self.poller) {
                self.pause_accepting(errno);
            }
        }
    }

    /// Does what an operator wants, if all of a command is there.
    fn obey(&mut self, number: u64) {
        let control = self.listeners.control.as_mut();
        if let Some((socket, command)) = control.and_then(|control| control.read(number)) {
            let (regions, mut common) = self.split();
            let result = command.and_then(|command| control::obey(command, regions, &mut common));
            control::answer(&socket, result);
        }
    }

    /// Stops waiting for those who connect, for a while: who waits would keep the server busy.
    fn pause_accepting(&mut self, errno: Errno) {
        if self.complaint.replace(errno) != Some(errno) {
            warn!("cannot accept clients, trying again: {errno}");
        }
        // If this fails, a socket stays ready, and the server busy until accepting works.
        self.paused = self
            .listeners
            .wait_for(&self.poller, Interest::NONE)
            .is_ok();
    }

    fn resume_accepting(&mut self) {
        if self.paused {
            self.reserve = self.reserve.take().or_else(|| spare_descriptor().ok());
            self.paused = self
                .listeners
                .wait_for(&self.poller, Interest::READ)
                .is_err();
        }
    }

    /// Gives everything to a successor, if one asks for it. Returns whether it has it.
    fn hand_over(&mut self) -> bool {
        let Some(listener) = &self.listeners.hand_over else {
            return false;
        };
        let socket = match listener.accept() {
            Ok(Some(socket)) => socket,
            Ok(None) => return false,
            Err(errno) => {
                self.pause_accepting(errno);
                return false;
            }
        };
        let given = hand_over::give(&socket, || {
            let mut journal = Journal::new()?;
            journal.begin(&state(
                &self.regions,
                self.next_connection,
                journal.batch(),
            )?)?;
            Ok((journal, descriptors::all(&self.listeners, &self.regions)))
        });
        given
            .inspect_err(|error| warn!("a successor did not take over: {error}"))
            .is_ok()
    }

    /// Has the service manager keep, if it keeps anything, all that a successor needs, and nothing else.
    pub(crate) fn keep_all(&mut self) {
        let all = descriptors::all(&self.listeners, &self.regions);
        self.keeper.keep_only(&all);
    }

    fn shut_down(&mut self) {
        let doors = &mut self.listeners.doors;
        doors.iter_mut().for_each(|door| door.listener.withdraw());
        self.reserve = None;
        // A client that has connected waits for an answer, and its QEMU would not cope with
        // the end of the stream.
        for door in doors {
            for socket in door.listener.accept_waiting() {
                refuse(&socket);
            }
        }
        let (regions, mut common) = self.split();
        for region in regions {
            region.finish(&mut common);
        }
        info!("stopped");
    }

    /// Takes care of all files from now on.
    pub(crate) fn own(&mut self) {
        self.listeners.all_mut().for_each(Listener::own);
        self.regions
            .iter_mut()
            .for_each(|region| region.memory.own());
    }

    /// Leaves all files to another server.
    pub(crate) fn abandon(&mut self) {
        self.listeners.all_mut().for_each(Listener::abandon);
        self.regions
            .iter_mut()
            .for_each(|region| region.memory.abandon());
    }
}

/// What a successor has to know.
pub(crate) fn state(regions: &[Region], next: u64, batch: u64) -> io::Result<State<'_>> {
    let mut state = State::new(next, batch);
    for region in regions {
        let name = region.config.name.clone();
        state.regions.insert(name, region.state()?);
    }
    Ok(state)
}

fn report(regions: &[Region], keeper: &Keeper, in_flight: usize) -> Report {
    let store = keeper.store();
    Report {
        kind: "ivshmem-server",
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        successor: keeper.is_on(),
        store: store.map(|(total, _)| total),
        store_room: store.and_then(|(_, room)| room),
        in_flight,
        open_files: getrlimit(Resource::Nofile).current,
        regions: regions.iter().map(RegionReport::new).collect(),
    }
}

pub(crate) fn spare_descriptor() -> Result<OwnedFd, Errno> {
    eventfd(0, EventfdFlags::CLOEXEC)
}
