// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a tunnel tells of itself when it is asked.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use serde_json::{json, Value};

use super::address::{self, Routes};
use super::counters::Counters;
use crate::mesh::Neighbour;
use crate::output::{Output, WARNING};

/// What those who carry packets and those who ask how it goes share.
#[derive(Default)]
pub struct Shared {
    /// What was carried.
    pub counters: Counters,
    state: Mutex<State>,
}

/// Who is there, and what this endpoint is.
#[derive(Default)]
pub struct State {
    /// Which endpoint has which address.
    pub routes: Routes,
    /// The other endpoints.
    pub ends: Vec<Neighbour>,
    /// The interface's name, MTU and addresses.
    pub name: String,
    pub mtu: u16,
    pub addresses: Vec<IpNet>,
}

impl Shared {
    /// Who is there.
    pub fn state(&self) -> MutexGuard<'_, State> {
        // Each change leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who is there, and what was carried.
    pub fn status(&self) -> (Value, String) {
        let state = self.state();
        let ends = state.ends.iter().map(
            |end| json!({ "peer_id": end.peer_id, "addresses": address::decode(&end.notice) }),
        );
        let value = json!({
            "event": "status",
            "name": state.name,
            "mtu": state.mtu,
            "addresses": state.addresses,
            "endpoints": ends.collect::<Vec<_>>(),
            "packets": self.counters.to_json(),
        });
        let mut text = format!(
            "{}: {}, MTU {}\n",
            state.name,
            list(&state.addresses),
            state.mtu
        );
        for end in &state.ends {
            text += &format!("{}\n", described(end));
        }
        text += &self.counters.to_text();
        (value, text)
    }
}

/// An endpoint as people are told of it.
pub fn described(end: &Neighbour) -> String {
    let addresses = address::decode(&end.notice);
    format!("peer {} ({})", end.peer_id, list(&addresses))
}

/// Addresses as people are told of them.
pub fn list(addresses: &[impl ToString]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    match texts.is_empty() {
        true => "no address".into(),
        false => texts.join(", "),
    }
}

/// Tells people of what is wrong.
pub fn warn(output: Output, event: &str, text: &str) {
    let value = json!({ "event": event, "reason": text });
    output.notice(&value, text, WARNING);
}
