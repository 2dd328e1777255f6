// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! All connections with all other ends, for as long as this end has its place.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use ivshmem_channel::{Error, Messages, MultiReceiver};
use tokio::task::{consume_budget, AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::address::{Address, Forward};
use super::connection::{Broken, Connection};
use super::flow::Over;
use super::frame::{Body, Frame, Key};
use super::lane::{lanes, Correspondent};
use super::others::Others;
use super::report::Report;
use super::settings::Settings;
use super::stream::{Listener, Stream};
use crate::end::AnyLink;
use crate::mesh::{Mesh, Neighbour, LOOK};

/// The most tasks, of which each connection has one: what another end asks for beyond that is left out.
const MOST_TASKS: usize = 1 << 16;

/// Bytes of a connection that are sent at a time, at most.
const PIECE: usize = 16 << 10;
/// Pieces that fit into a ring at least, so that connections have turns.
const PIECES: usize = 8;

/// Pause after a connection could not be accepted: there are no more descriptors, perhaps.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause before the other end is asked to listen again.
const AGAIN: Duration = Duration::from_secs(2);
/// How long the other end may take to be told that a connection is broken; it is gone by then if it cannot be told.
const FAREWELL: Duration = Duration::from_secs(5);

/// A session.
pub struct Session {
    settings: Rc<Settings>,
    report: Rc<Report>,
    mesh: RefCell<Mesh>,
    /// Our incarnation.
    own: u32,
    others: Others,
    tasks: RefCell<JoinSet<()>>,
    /// Bytes of a connection in a message, at most.
    piece: usize,
}

/// What the other end is asked to connect to.
enum Ask {
    /// This address.
    Target(String),
    /// What it has asked to be listened for by this number.
    Accepted(u32),
}

/// A connection that is to be carried.
struct Opening {
    slot: u32,
    key: Key,
    other: Correspondent,
    connection: Rc<Connection>,
}

impl Session {
    /// Begins: tells the others who we are.
    pub fn new(mut mesh: Mesh, settings: Rc<Settings>, report: Rc<Report>) -> Result<Rc<Self>> {
        mesh.tell(settings.name.as_bytes())?;
        let own = mesh.member.incarnation();
        Ok(Rc::new(Self {
            settings,
            report,
            own,
            others: Others::new(own, lanes(&mesh)?),
            tasks: RefCell::default(),
            piece: PIECE.min(mesh.ring as usize / PIECES),
            mesh: RefCell::new(mesh),
        }))
    }

    /// What the other ends say.
    pub fn messages(&self) -> Result<Messages<MultiReceiver<AnyLink>>> {
        let receiver = self.mesh.borrow().member.multi_receiver()?;
        Ok(Messages::new(receiver)?)
    }

    /// Hears the other ends until something fails. It never waits for anything else, so that nobody who is slow holds up
    /// others.
    pub async fn hear_all(
        self: &Rc<Self>,
        mut messages: Messages<MultiReceiver<AnyLink>>,
    ) -> Result<()> {
        while let Some(message) = messages.next().await {
            match message {
                Ok((slot, bytes)) => self.hear(slot, &bytes)?,
                Err(error @ Error::CorruptLane { .. }) => self.report.fail(&error.to_string()),
                Err(error) => return Err(error.into()),
            }
            consume_budget().await;
        }
        Ok(())
    }

    /// Looks who is there, again and again.
    pub async fn watch(self: &Rc<Self>) -> Result<()> {
        loop {
            self.look()?;
            while self.tasks.borrow_mut().try_join_next().is_some() {}
            sleep(LOOK).await;
        }
    }

    /// Ends all connections.
    pub fn end(&self) {
        self.tasks.borrow_mut().abort_all();
        self.report.set_ends(Vec::new());
    }

    /// Accepts connections of this machine for a forward, for ever.
    pub fn accept(self: &Rc<Self>, listener: Rc<Listener>, forward: usize) {
        let this = self.clone();
        self.spawn(async move {
            loop {
                let stream = this.accepted(&listener).await;
                let forward = &this.settings.local[forward];
                match this.others.find(&forward.peer) {
                    Some(slot) => this.open(slot, stream, Ask::Target(forward.target.to_string())),
                    None => {
                        let text = format!(
                            "{} is not there: a connection to it is closed",
                            forward.peer
                        );
                        this.report.fail(&text);
                    }
                }
            }
        });
    }

    async fn accepted(&self, listener: &Listener) -> Stream {
        loop {
            match listener.accept().await {
                Ok(stream) => return stream,
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    fn look(self: &Rc<Self>) -> Result<()> {
        let changes = {
            let mut mesh = self.mesh.borrow_mut();
            mesh.look()?;
            self.report.set_ends(mesh.neighbours().cloned().collect());
            mesh.changes()
        };
        for (before, now) in changes {
            let known = now
                .as_ref()
                .is_some_and(|now| self.others.is_known(now.slot, now.incarnation));
            // Nobody tells another name of itself.
            if known {
                continue;
            }
            if let Some(before) = before.filter(|before| self.others.leave(before.slot)) {
                self.report.left(&before);
            }
            if let Some(now) = now.filter(|now| self.others.come(now.clone())) {
                self.come(&now);
            }
        }
        Ok(())
    }

    /// Somebody has come: has it listen, if that is wanted of it.
    fn come(self: &Rc<Self>, now: &Neighbour) {
        self.report.here(now);
        let remote = self.settings.remote.iter().zip(0..);
        for (_, number) in remote.filter(|(f, _)| self.others.is(now.slot, &f.peer)) {
            self.ask_to_listen(now.slot, number, Duration::ZERO);
        }
    }

    /// Takes a message of slot `slot`.
    fn hear(self: &Rc<Self>, slot: u32, bytes: &[u8]) -> Result<()> {
        let Some(frame) = Frame::decode(bytes) else {
            self.report.count_invalid();
            return Ok(());
        };
        // What was meant for our predecessor.
        if frame.to != self.own {
            return Ok(());
        }
        if !self.others.is_known(slot, frame.from) {
            self.look()?;
            // What somebody has sent who is gone.
            if !self.others.is_known(slot, frame.from) {
                return Ok(());
            }
        }
        let key = frame.key;
        match (frame.body, key.ours) {
            (Body::Open(target), false) => {
                self.connect(slot, key, self.settings.may_connect(target))
            }
            (Body::Accepted(number), false) => {
                let target = self.remote(slot, number).map(|f| f.target.clone());
                self.connect(slot, key, target.ok_or("this was not asked for".into()));
            }
            (Body::Listen(address), false) => self.listen(slot, key, address),
            (Body::Listening, true) => {
                if let Some(forward) = self.remote(slot, key.number) {
                    self.report.listening(forward, "there");
                }
            }
            (Body::NotListening(reason), true) => {
                if let Some(forward) = self.remote(slot, key.number) {
                    let text = format!(
                        "{} does not listen at {}: {reason}",
                        forward.peer, forward.listen
                    );
                    self.report.fail(&text);
                    self.ask_to_listen(slot, key.number, AGAIN);
                }
            }
            (body, _) => self.others.hear(slot, key, body),
        }
        Ok(())
    }

    /// What the one in a slot was asked to listen for by this number.
    fn remote(&self, slot: u32, number: u32) -> Option<&Forward> {
        let forward = self.settings.remote.get(number as usize)?;
        self.others.is(slot, &forward.peer).then_some(forward)
    }

    /// Connects to what the one in a slot wants, if it may, and carries that.
    fn connect(self: &Rc<Self>, slot: u32, key: Key, target: Result<Address, String>) {
        let opening = target.and_then(|target| {
            let opening = self.opening(slot, key)?;
            Ok((target, opening))
        });
        match opening {
            Ok((target, opening)) => {
                let this = self.clone();
                self.spawn(async move {
                    let connecting = async {
                        let stream = Stream::connect(&target).await;
                        stream.map_err(|error| format!("{target}: {error}"))
                    };
                    this.carry(opening, connecting).await;
                });
            }
            Err(reason) => {
                self.report.fail(&reason);
                if let Some(other) = self.others.correspondent(slot) {
                    self.spawn(async move { farewell(&other, key, Body::Reset(&reason)).await });
                }
            }
        }
    }

    /// Carries a connection of this machine to the one in a slot.
    fn open(self: &Rc<Self>, slot: u32, stream: Stream, ask: Ask) {
        let opening = match self.opening(slot, self.others.next(slot)) {
            Ok(opening) => opening,
            Err(reason) => return self.report.fail(&reason),
        };
        let this = self.clone();
        self.spawn(async move {
            let (other, key) = (opening.other.clone(), opening.key);
            let asking = async {
                let body = match &ask {
                    Ask::Target(target) => Body::Open(target),
                    Ask::Accepted(number) => Body::Accepted(*number),
                };
                let asked = other.send(key, body).await;
                asked.map(|()| stream).map_err(|error| error.to_string())
            };
            this.carry(opening, asking).await;
        });
    }

    fn opening(&self, slot: u32, key: Key) -> Result<Opening, String> {
        let connection = self.others.open(slot, key)?;
        let other = self.others.correspondent(slot).ok_or("nobody is there")?;
        Ok(Opening {
            slot,
            key,
            other,
            connection,
        })
    }

    /// Carries a connection once its socket is there.
    async fn carry(&self, opening: Opening, stream: impl Future<Output = Result<Stream, String>>) {
        let Opening {
            slot,
            key,
            other,
            connection,
        } = opening;
        let counted = self.report.count();
        let carry = async {
            let mut stream = tokio::select! {
                stream = stream => stream.map_err(Broken::Untold)?,
                over = connection.over() => return Err(Broken::Told(over)),
            };
            connection
                .carry(&mut stream, &other, key, self.piece)
                .await?;
            stream.finish();
            Ok(())
        };
        let carried = carry.await;
        drop(counted);
        match carried {
            Ok(()) => {}
            Err(Broken::Told(Over::Reset(reason))) => self.report.fail(&reason),
            Err(Broken::Told(_)) => {}
            Err(Broken::Untold(reason)) => {
                self.report.fail(&reason);
                farewell(&other, key, Body::Reset(&reason)).await;
            }
        }
        self.others.close(slot, other.incarnation(), key);
    }
    /// Listens for the one in a slot, if it may.
    fn listen(self: &Rc<Self>, slot: u32, key: Key, address: &str) {
        let may = self.others.may_listen(slot, key.number);
        let address = match may {
            true => self.settings.may_listen(address),
            false => Err("it is listened already, or at too many places".into()),
        };
        let Some(other) = self.others.correspondent(slot) else {
            return;
        };
        let this = self.clone();
        let task = self.spawn(async move {
            let failed = match address {
                Ok(address) => this.listen_at(slot, &other, key, &address).await,
                Err(reason) => reason,
            };
            this.report.fail(&failed);
            farewell(&other, key, Body::NotListening(&failed)).await;
        });
        if let Some(task) = task.filter(|_| may) {
            self.others.listen(slot, key.number, task);
        }
    }

    /// Listens until that fails, and returns why.
    async fn listen_at(
        self: &Rc<Self>,
        slot: u32,
        other: &Correspondent,
        key: Key,
        address: &Address,
    ) -> String {
        let listener = match Listener::bind(address).await {
            Ok(listener) => listener,
            Err(error) => return format!("{address}: {error}"),
        };
        if let Err(error) = other.send(key, Body::Listening).await {
            return error.to_string();
        }
        loop {
            let stream = self.accepted(&listener).await;
            self.open(slot, stream, Ask::Accepted(key.number));
        }
    }

    /// Asks the one in a slot to listen, after a pause.
    fn ask_to_listen(self: &Rc<Self>, slot: u32, number: u32, pause: Duration) {
        let Some(other) = self.others.correspondent(slot) else {
            return;
        };
        let address = self.settings.remote[number as usize].listen.to_string();
        self.spawn(async move {
            sleep(pause).await;
            // It is gone if it cannot be asked.
            let key = Key { ours: true, number };
            let _ = other.send(key, Body::Listen(&address)).await;
        });
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) -> Option<AbortHandle> {
        let mut tasks = self.tasks.borrow_mut();
        (tasks.len() < MOST_TASKS).then(|| tasks.spawn_local(task))
    }
}

/// The last thing that is said of something.
async fn farewell(other: &Correspondent, key: Key, body: Body<'_>) {
    // It is gone by then if it cannot be told.
    let _ = timeout(FAREWELL, other.send(key, body)).await;
}
