// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One channel: joins it, carries its topics, and comes back to it whenever it was away.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use ivshmem::{Doorbell, Lock, Locking};
use ivshmem_channel::{Areas, Cancel, Channel, Error, Member, Subscriber};
use ivshmem_peer::{Options, Peer, Server};
use serde_json::{json, Value};
use tracing::{info, warn};
use zenoh::Session;

use crate::config::{self, Place};
use crate::ending::{sleep, Ending};
use crate::incoming::Incoming;
use crate::outgoing::Outgoing;
use crate::output::Output;

/// Vector by which a bridge is rung; every peer that can be rung has it.
const VECTOR: u32 = 0;
/// Pause between two tries to come back, and between two looks whether a server is back.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two heartbeats, which limits how late a failure is noticed.
const TICK: Duration = Duration::from_millis(250);

/// A channel whose topics are carried.
pub struct Carrier {
    settings: config::Channel,
    output: Output,
    entries: Vec<Entry>,
    state: Mutex<State>,
}

/// What is carried under one key.
struct Entry {
    settings: config::Topic,
    outgoing: Option<Outgoing>,
    incoming: Option<Incoming>,
    /// Losses that were told.
    told: Mutex<u64>,
}

/// A topic that goes to Zenoh, and its reading end.
type Reading<'a> = (&'a Outgoing, Subscriber<Arc<Peer>>);

/// How it stands with the channel.
enum State {
    Joined,
    Away(String),
}

impl Carrier {
    /// Tells Zenoh of all topics.
    pub fn open(
        session: &Session,
        settings: config::Channel,
        origin: u64,
        output: Output,
    ) -> Result<Self> {
        let entries = settings.topics.iter().map(|topic| {
            let outgoing = topic.to_zenoh;
            let outgoing = outgoing.map(|number| Outgoing::open(session, topic, number, origin));
            let incoming = topic.from_zenoh;
            let incoming = incoming.map(|number| Incoming::open(session, topic, number, origin));
            Ok(Entry {
                settings: topic.clone(),
                outgoing: outgoing.transpose()?,
                incoming: incoming.transpose()?,
                told: Mutex::new(0),
            })
        });
        Ok(Self {
            entries: entries.collect::<Result<_>>()?,
            settings,
            output,
            state: Mutex::new(State::Away("not joined yet".into())),
        })
    }

    /// Carries until `stop` is used.
    pub fn run(&self, stop: &Cancel) {
        loop {
            let failed = match self.stay(stop) {
                _ if stop.is_cancelled() => return,
                Ok(never) => match never {},
                Err(error) => format!("{error:#}"),
            };
            self.tell_away(failed);
            if sleep(&[stop], PAUSE) {
                return;
            }
        }
    }

    /// Joins and carries until something fails.
    fn stay(&self, stop: &Cancel) -> Result<std::convert::Infallible> {
        let peer = Arc::new(Peer::join(&self.settings.socket)?);
        let base = self.place(&peer)?;
        let channel = Channel::open(Arc::clone(&peer), base)?;
        let _alone = alone(&peer, base)?;
        let tick = TICK.min(channel.plan().heartbeat() / 4);
        let joining = channel.joining().cancel(stop);
        let member = joining.join(self.settings.slot, VECTOR)?;
        let ending = Arc::new(Ending::new()?);
        let _attached = self.attach(&member, &ending)?;
        let mut subscribers = self.subscribers(&member, &ending)?;
        thread::scope(|scope| {
            for (outgoing, values) in &mut subscribers {
                let ending = &ending;
                let thread = thread::Builder::new().name("to-zenoh".into());
                let carry = move || ending.end(outgoing.carry(values));
                if let Err(error) = thread.spawn_scoped(scope, carry) {
                    ending.end(Error::Cancelled);
                    return Err(error).context("cannot start a thread");
                }
            }
            self.tell_joined(&peer);
            let failed = self.watch(&peer, &member, tick, [stop, ending.cancel()]);
            ending.end(Error::Cancelled);
            failed?;
            Err(ending.reason().into())
        })
    }

    /// Where the channel is.
    fn place(&self, peer: &Arc<Peer>) -> Result<u64> {
        let (name, directory) = match &self.settings.place {
            Place::Offset(offset) => return Ok(*offset),
            Place::Area(name, directory) => (name, *directory),
        };
        let areas = Areas::open(peer, directory)?;
        let areas = areas.with_context(|| {
            format!("no program has made a directory of areas at byte {directory:#x} yet")
        })?;
        let area = areas.find(name)?;
        let area = area.with_context(|| format!("no program has made the area {name} yet"))?;
        Ok(area.start)
    }

    /// Takes the publishing ends of what comes from Zenoh.
    fn attach(&self, member: &Member<Arc<Peer>>, ending: &Arc<Ending>) -> Result<Attached<'_>> {
        let mut attached = Attached(Vec::new());
        for incoming in self.incoming() {
            let publisher = member.publisher(incoming.topic).with_context(|| {
                format!(
                    "from-zenoh = {}: the layout has to say that slot {} publishes it",
                    incoming.topic, self.settings.slot
                )
            })?;
            incoming.attach(publisher, Arc::clone(ending));
            attached.0.push(incoming);
        }
        Ok(attached)
    }

    /// Takes the reading ends of what goes to Zenoh.
    fn subscribers(&self, member: &Member<Arc<Peer>>, ending: &Ending) -> Result<Vec<Reading<'_>>> {
        let outgoing = self.entries.iter().flat_map(|entry| &entry.outgoing);
        let subscribers = outgoing.map(|outgoing| {
            let mut values = member.subscriber(outgoing.topic).with_context(|| {
                format!(
                    "to-zenoh = {}: the layout has to say that another slot than {} publishes it",
                    outgoing.topic, self.settings.slot
                )
            })?;
            values.set_cancel(ending.cancel());
            Ok((outgoing, values))
        });
        subscribers.collect()
    }

    /// Shows that this bridge lives, also while Zenoh makes it wait, until one of `ends` is used or something fails.
    fn watch(
        &self,
        peer: &Peer,
        member: &Member<Arc<Peer>>,
        tick: Duration,
        ends: [&Cancel; 2],
    ) -> Result<()> {
        let mut looked = Instant::now();
        while !sleep(&ends, tick) {
            member.beat()?;
            if looked.elapsed() >= PAUSE {
                looked = Instant::now();
                if is_outdated(peer, &self.settings.socket) {
                    bail!("the server was started again");
                }
            }
        }
        Ok(())
    }

    fn incoming(&self) -> impl Iterator<Item = &Incoming> {
        self.entries.iter().flat_map(|entry| &entry.incoming)
    }

    /// Asks for newest values.
    pub fn ask(&self, session: &Session) -> Result<()> {
        self.incoming().try_for_each(|one| one.ask(session))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_joined(&self, peer: &Peer) {
        *self.state() = State::Joined;
        let (peer_id, slot) = (peer.peer_id(), self.settings.slot);
        info!(
            "{}: joined as peer {peer_id}, in slot {slot}",
            self.settings
        );
        self.output.event(&json!({
            "event": "joined", "channel": self.settings.to_string(), "peer_id": peer_id, "slot": slot,
        }));
    }

    /// Says why the channel is away, once as long as that is the same.
    fn tell_away(&self, reason: String) {
        let state = std::mem::replace(&mut *self.state(), State::Away(reason.clone()));
        if matches!(state, State::Away(before) if before == reason) {
            return;
        }
        warn!("{}: {reason}; trying again", self.settings);
        self.output.event(&json!({
            "event": "away", "channel": self.settings.to_string(), "reason": reason,
        }));
    }

    /// Says of each key what was lost since it was told last.
    pub fn tell_losses(&self) {
        for entry in &self.entries {
            let sent = entry
                .outgoing
                .as_ref()
                .map_or(0, |one| one.counters.losses());
            let received = entry.incoming.as_ref();
            let received = received.map_or(0, |one| one.counters().losses());
            let all = sent.wrapping_add(received);
            let mut told = entry.told.lock().unwrap_or_else(PoisonError::into_inner);
            let lost = all.wrapping_sub(*told);
            if lost > 0 {
                *told = all;
                let key = &entry.settings.key;
                warn!("{key}: {lost} values were lost, {all} so far; SIGUSR1 tells where");
            }
        }
    }

    /// What was carried.
    pub fn status(&self) -> (Value, String) {
        let mut topics = Vec::new();
        let mut text = match &*self.state() {
            State::Joined => format!("{}\n", self.settings),
            State::Away(reason) => format!("{}: away: {reason}\n", self.settings),
        };
        for Entry {
            settings,
            outgoing,
            incoming,
            ..
        } in &self.entries
        {
            let key = &settings.key;
            if let Some(one) = outgoing {
                text += &format!("  {} > {key}: {}\n", one.topic, one.counters.to_text());
            }
            if let Some(one) = incoming {
                text += &format!("  {} < {key}: {}\n", one.topic, one.counters().to_text());
            }
            topics.push(json!({
                "key": key.as_str(),
                "kind": settings.kind,
                "to_zenoh": outgoing.as_ref().map(|one| &one.counters),
                "from_zenoh": incoming.as_ref().map(|one| one.counters()),
            }));
        }
        let away = match &*self.state() {
            State::Joined => None,
            State::Away(reason) => Some(reason.clone()),
        };
        let channel = self.settings.to_string();
        let value = json!({ "channel": channel, "away": away, "topics": topics });
        (value, text)
    }
}

/// Topics that are written, until this is dropped.
struct Attached<'a>(Vec<&'a Incoming>);

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        for incoming in &self.0 {
            incoming.detach();
        }
    }
}

/// Sees to it that no other bridge carries the channel: each would carry what the other one writes, in a circle without
/// end. All bridges of a memory are programs of its host, so a lock tells, which ends with the process. It is on the
/// channel's first byte; those of slots are elsewhere.
fn alone(peer: &Peer, base: u64) -> Result<Option<Lock>> {
    match peer.lock(base) {
        Locking::Held(lock) => Ok(Some(lock)),
        Locking::Taken => {
            bail!("another bridge carries this channel: give all its topics to one")
        }
        _ => Ok(None),
    }
}

/// Whether the server is gone and there is one again, which has other memory.
fn is_outdated(peer: &Peer, socket: &Path) -> bool {
    let lost = matches!(peer.server(), Server::Lost(_));
    lost && Options::default().patience(PAUSE).join(socket).is_ok()
}
