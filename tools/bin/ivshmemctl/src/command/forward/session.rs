// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! All connections with all other endpoints, for as long as this endpoint has its place.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::consume_budget;
use tokio::time::sleep;

use super::address::{Address, Forward};
use super::carrier::{Answer, Ask, Carrier};
use super::frame::{Body, Frame, Key};
use super::lane::Correspondent;
use super::others::Arrival;
use super::report::{Report, Side};
use super::settings::{Refusal, Settings};
use super::stream::Listener;
use crate::mesh::{Heard, Incoming, Mesh, LOOK};

/// Pause before the other endpoint is asked to listen again.
const AGAIN: Duration = Duration::from_secs(2);

/// What one place among the endpoints is used for.
pub struct Session {
    settings: Rc<Settings>,
    report: Rc<Report>,
    mesh: RefCell<Mesh>,
    /// Our incarnation.
    own: u32,
    carrier: Rc<Carrier>,
}

impl Session {
    /// Begins: tells the others who we are.
    pub fn new(mut mesh: Mesh, settings: Rc<Settings>, report: Rc<Report>) -> Result<Rc<Self>> {
        mesh.tell(settings.name.as_bytes())?;
        let own = mesh.member.incarnation();
        Ok(Rc::new(Self {
            carrier: Rc::new(Carrier::new(&mesh, report.clone())?),
            settings,
            report,
            own,
            mesh: RefCell::new(mesh),
        }))
    }

    /// What the other endpoints say.
    pub fn incoming(&self) -> Result<Incoming> {
        Incoming::new(&self.mesh.borrow())
    }

    /// Hears the other endpoints until something fails. It never waits for anything else, so that nobody who is slow holds up
    /// others.
    pub async fn hear_all(self: &Rc<Self>, mut incoming: Incoming) -> Result<()> {
        let mut buffer = Vec::new();
        loop {
            match incoming.next(&mut buffer).await? {
                Heard::Message(slot) => self.hear(slot, &buffer)?,
                Heard::Corrupt(text) => self.report.fail(&text),
            }
            consume_budget().await;
        }
    }

    /// Looks who is there, again and again.
    pub async fn watch(self: &Rc<Self>) -> Result<()> {
        loop {
            self.look()?;
            self.carrier.reap();
            sleep(LOOK).await;
        }
    }

    /// Ends all connections.
    pub fn end(&self) {
        self.carrier.end();
        self.report.set_ends(Vec::new());
    }

    /// Accepts connections of this machine for a forward, for ever.
    pub fn accept(self: &Rc<Self>, listener: Rc<Listener>, forward: usize) {
        let this = self.clone();
        self.carrier.spawn(async move {
            loop {
                let stream = this.carrier.accepted(&listener).await;
                let forward = &this.settings.local[forward];
                match this.carrier.others.find(&forward.peer) {
                    Some(slot) => {
                        this.carrier
                            .open(slot, stream, Ask::Target(forward.target.to_string()))
                    }
                    None => {
                        let text = format!(
                            "{} is not there: a connection to it is closed",
                            forward.peer.described()
                        );
                        this.report.refuse(&text);
                    }
                }
            }
        });
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
                .is_some_and(|now| self.carrier.others.is_known(now.slot, now.incarnation));
            // Nobody tells another name of itself.
            if known {
                continue;
            }
            if let Some(before) = before.filter(|before| self.carrier.others.leave(before.slot)) {
                self.report.left(&before);
            }
            let Some(now) = now else { continue };
            if let Some(arrival) = self.carrier.others.come(now.clone()) {
                self.report.here(&now);
                self.begin(now.slot, arrival);
            }
        }
        Ok(())
    }

    /// Begins with the one in a slot, who has just come.
    fn begin(&self, slot: u32, arrival: Arrival) {
        let other = self.carrier.others.correspondent(slot);
        if let (Arrival::Again, Some(other)) = (arrival, other) {
            // Before anything else: tasks have their turns in the order in which they begin.
            let key = Key {
                ours: true,
                number: 0,
            };
            self.carrier.spawn(async move {
                // If it cannot be told, it is gone.
                let _ = other.send(key, Body::ResetAll).await;
            });
        }
        self.ask_for_all(slot);
    }

    /// Has the one in a slot listen, as far as that is wanted of it.
    fn ask_for_all(&self, slot: u32) {
        let remote = self.settings.remote.iter().zip(0..);
        for (_, number) in remote.filter(|(f, _)| self.carrier.others.is(slot, &f.peer)) {
            self.ask_to_listen(slot, number, Duration::ZERO);
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
        if !self.carrier.others.is_known(slot, frame.from) {
            self.look()?;
            // What somebody has sent who is gone.
            if !self.carrier.others.is_known(slot, frame.from) {
                return Ok(());
            }
        }
        let key = frame.key;
        match (frame.body, key.ours) {
            (Body::Open(target), false) => {
                self.carrier
                    .connect(slot, key, self.settings.may_connect(target))
            }
            (Body::Accepted(number), false) => {
                let target = self.remote(slot, number).map(|f| f.target.clone());
                self.carrier
                    .connect(slot, key, target.ok_or("this was not asked for".into()));
            }
            (Body::Listen(address), false) => self.listen(slot, key, address),
            (Body::Listening, true) => {
                if let Some(forward) = self.remote(slot, key.number) {
                    self.report.listening(forward, Side::There);
                }
            }
            (Body::NotListening(reason), true) => {
                if let Some(forward) = self.remote(slot, key.number) {
                    let text = format!(
                        "{} does not listen on {}: {reason}",
                        forward.peer.described(),
                        forward.listen
                    );
                    self.report.fail(&text);
                    self.ask_to_listen(slot, key.number, AGAIN);
                }
            }
            (Body::ResetAll, _) => {
                self.carrier.others.reset(slot);
                self.ask_for_all(slot);
            }
            (body, _) => self.carrier.others.hear(slot, key, body),
        }
        Ok(())
    }

    /// What the one in a slot was asked to listen for by this number.
    fn remote(&self, slot: u32, number: u32) -> Option<&Forward> {
        let forward = self.settings.remote.get(number as usize)?;
        self.carrier
            .others
            .is(slot, &forward.peer)
            .then_some(forward)
    }

    /// Listens for the one in a slot, if it may.
    fn listen(self: &Rc<Self>, slot: u32, key: Key, address: &str) {
        let address = match self.carrier.others.may_listen(slot, key.number) {
            true => self.settings.may_listen(address),
            false => Err("too many listeners".into()),
        };
        let this = self.clone();
        match (address, self.carrier.others.correspondent(slot)) {
            (Ok(address), Some(other)) => {
                let task = self.carrier.spawn(async move {
                    let failed = this.listen_at(slot, &other, key, &address).await;
                    this.not_listening(slot, key, failed.into());
                });
                self.carrier.others.listen(slot, key.number, task);
            }
            (Err(reason), _) => self.not_listening(slot, key, reason),
            (Ok(_), None) => {}
        }
    }

    fn not_listening(&self, slot: u32, key: Key, refusal: Refusal) {
        self.report.fail(&refusal.here);
        let answer = Answer::NotListening(refusal.there);
        self.carrier.answer(slot, Duration::ZERO, key, answer);
    }

    /// Listens until that fails, and returns why.
    async fn listen_at(
        self: &Rc<Self>,
        slot: u32,
        other: &Correspondent,
        key: Key,
        address: &Address,
    ) -> String {
        let Some(turns) = self.carrier.others.lookups(slot) else {
            return "nobody is there".into();
        };
        let listener = match Listener::bind(address, &turns).await {
            Ok(listener) => listener,
            Err(error) => return format!("{address}: {error}"),
        };
        if let Err(error) = other.send(key, Body::Listening).await {
            return error.to_string();
        }
        loop {
            let stream = self.carrier.accepted(&listener).await;
            self.carrier.open(slot, stream, Ask::Accepted(key.number));
        }
    }

    /// Asks the one in a slot to listen, after a pause.
    fn ask_to_listen(&self, slot: u32, number: u32, pause: Duration) {
        let address = self.settings.remote[number as usize].listen.to_string();
        let key = Key { ours: true, number };
        let ask = Answer::Listen(address);
        self.carrier.answer(slot, pause, key, ask);
    }
}
