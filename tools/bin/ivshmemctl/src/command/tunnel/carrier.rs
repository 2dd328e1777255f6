// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A tunnel's end: what it is to others, and who they are.

use std::sync::Arc;
use std::time::Duration;

use anstyle::Style;
use anyhow::Result;
use ipnet::{IpNet, Ipv4Net};
use serde_json::json;
use tokio::select;
use tokio::time::{interval, sleep, Instant, Interval, MissedTickBehavior};

use super::address::{self, Routes};
use super::interface::Interface;
use super::mtu;
use super::pump::Pump;
use super::status::{described, list, Shared};
use crate::exit::{failure, Exit};
use crate::mesh::{Change, Mesh, Neighbour, Program, LOOK};
use crate::news::News;
use crate::output::{Output, GOOD, WARNING};

/// How long another endpoint may have our address: for longer than one that has crashed seems to be there.
const OVERLAP: Duration = Duration::from_secs(5);

/// How long after we have come another endpoint may tell that it has one of our addresses and have it: both came together.
const RACE: Duration = Duration::from_secs(1);

/// What was asked for.
pub struct Settings {
    /// The addresses, none for one that is made of the peer ID.
    pub addresses: Vec<IpNet>,
    /// The network of those.
    pub network: Ipv4Net,
    /// The MTU if it was said.
    pub mtu: Option<u16>,
    /// The interface's name.
    pub name: String,
}

/// A tunnel's end.
pub struct Carrier {
    settings: Settings,
    shared: Arc<Shared>,
    output: Output,
    news: News,
    /// Stays while the memory is away, so that connections survive.
    interface: Option<(Vec<IpNet>, Arc<Interface>)>,
}

impl Program for Carrier {
    async fn run(&mut self, mut mesh: Mesh) -> Result<()> {
        let addresses = self.addresses(mesh.peer_id)?;
        let other = await_addresses(&mut mesh, &addresses).await?;
        // Who had them before goes on as if that one had come later.
        let first = self.interface.is_none();
        if let Some(other) = other.filter(|_| first) {
            return Err(overlap(&other));
        }
        let interface = self.interface(&addresses, mesh.ring)?;
        mesh.tell(&address::encode(&addresses))?;
        let mut pump = Pump::start(&mesh, interface, self.shared.clone(), self.output)?;
        select! {
            // This one finds out first that the memory was taken away, which nobody may touch then.
            biased;
            failed = pump.failed() => Err(failed),
            done = self.watch(mesh, &addresses, first) => done,
        }
    }
}

impl Carrier {
    /// A tunnel's end that is not there yet.
    pub fn new(settings: Settings, shared: Arc<Shared>, output: Output) -> Self {
        Self {
            settings,
            shared,
            output,
            news: News::new(output),
            interface: None,
        }
    }

    /// Our addresses, with this peer ID.
    fn addresses(&self, peer_id: Option<u32>) -> Result<Vec<IpNet>> {
        let Settings {
            addresses, network, ..
        } = &self.settings;
        if !addresses.is_empty() {
            return Ok(addresses.clone());
        }
        let Some(peer_id) = peer_id else {
            let text = "without a doorbell there is no peer ID to make an address of: give one with --address";
            return Err(failure(Exit::Unable, text));
        };
        let address = address::automatic(*network, peer_id).ok_or_else(|| {
            let text = format!(
                "{network} is too small for an address made of peer ID {peer_id}: give all endpoints a larger --network, or \
                 this one an --address"
            );
            failure(Exit::Unable, text)
        })?;
        Ok(vec![address])
    }

    /// The interface with these addresses: that of before if it has them. The memory may be smaller now, or larger, and so may
    /// packets.
    fn interface(&mut self, addresses: &[IpNet], ring: u32) -> Result<Arc<Interface>> {
        let mtu = self.settings.mtu.unwrap_or_else(|| mtu::default(ring));
        // Another one is dropped before there is one of the same name.
        let before = self.interface.take();
        let before = before.filter(|(before, _)| before == addresses);
        let is_same = self.shared.state().mtu == mtu;
        let interface = match before {
            Some((_, interface)) => {
                if !is_same {
                    interface.set_mtu(mtu)?;
                    self.tell_up(interface.name(), mtu, addresses);
                }
                interface
            }
            None => {
                let interface = Interface::new(&self.settings.name, mtu, addresses)?;
                self.tell_up(interface.name(), mtu, addresses);
                Arc::new(interface)
            }
        };
        self.interface = Some((addresses.into(), interface.clone()));
        Ok(interface)
    }

    fn tell_up(&self, name: &str, mtu: u16, addresses: &[IpNet]) {
        let event = json!({ "event": "up", "name": name, "mtu": mtu, "addresses": addresses });
        let text = format!("{name} is up: {}, MTU {mtu}", list(addresses));
        self.output.notice(&event, &text, GOOD);
        let mut state = self.shared.state();
        state.name = name.into();
        state.mtu = mtu;
        state.addresses = addresses.into();
    }

    /// Looks who is there.
    async fn watch(&self, mut mesh: Mesh, addresses: &[IpNet], first: bool) -> Result<()> {
        let (mut look, begin) = (ticks(), Instant::now());
        loop {
            mesh.look()?;
            let changes = mesh.changes();
            if !changes.is_empty() {
                self.route(&mesh);
            }
            for change in &changes {
                self.tell(change, addresses);
            }
            // Two who have come at the same time have both found the address free: one of them gives up.
            if first && begin.elapsed() < RACE {
                let before = |other: &&Neighbour| other.slot < mesh.member.slot();
                let mut others = mesh.neighbours().filter(before);
                if let Some(other) = others.find(|other| has_any(other, addresses)) {
                    return Err(overlap(other));
                }
            }
            look.tick().await;
        }
    }

    fn route(&self, mesh: &Mesh) {
        let ends: Vec<_> = mesh.neighbours().cloned().collect();
        let told = ends.iter().map(|end| (end.slot, &end.notice[..]));
        let mut state = self.shared.state();
        state.routes = Routes::of(told);
        state.ends = ends;
    }

    /// Tells who came or left.
    fn tell(&self, (before, now): &Change, addresses: &[IpNet]) {
        let incarnation = |end: &Neighbour| end.incarnation;
        let stays = before.as_ref().map(incarnation) == now.as_ref().map(incarnation);
        // Another one may have its place already.
        if let Some(end) = before.as_ref().filter(|_| !stays) {
            let text = format!("{} has left, or is silent", described(end));
            self.tell_of(end, "left", &text, WARNING);
        }
        let Some(end) = now else { return };
        self.tell_of(end, "here", &format!("{} is here", described(end)), GOOD);
        if has_any(end, addresses) {
            let text = overlap(end).to_string();
            let value = json!({ "event": "overlap", "reason": text });
            self.news.tell(&value, &text, WARNING);
        }
    }

    fn tell_of(&self, end: &Neighbour, event: &str, text: &str, style: Style) {
        let addresses = address::decode(&end.notice);
        let value = json!({ "event": event, "peer_id": end.peer_id, "addresses": addresses });
        self.news.tell(&value, text, style);
    }
}

/// Waits until nobody else has one of our addresses, for whoever had them may have crashed: who has one after that time.
async fn await_addresses(mesh: &mut Mesh, addresses: &[IpNet]) -> Result<Option<Neighbour>> {
    let begin = Instant::now();
    loop {
        mesh.look()?;
        let other = mesh.neighbours().find(|other| has_any(other, addresses));
        match other {
            Some(_) if begin.elapsed() <= OVERLAP => sleep(LOOK).await,
            other => return Ok(other.cloned()),
        }
    }
}

fn has_any(other: &Neighbour, addresses: &[IpNet]) -> bool {
    let theirs = address::decode(&other.notice);
    addresses.iter().any(|own| theirs.contains(&own.addr()))
}

fn overlap(other: &Neighbour) -> anyhow::Error {
    let text = format!(
        "{} has an address of this endpoint too: give each endpoint an --address of its own",
        described(other)
    );
    failure(Exit::Failure, text)
}

fn ticks() -> Interval {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
