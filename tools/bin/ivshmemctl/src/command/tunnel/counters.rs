// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a tunnel has carried, and what not.

use std::cell::Cell;

use serde_json::{json, Value};

/// Packets and their bytes.
#[derive(Debug, Default)]
pub struct Traffic {
    packets: Cell<u64>,
    bytes: Cell<u64>,
}

/// Numbers since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Of the kernel, to other ends.
    pub sent: Traffic,
    /// Of other ends, to the kernel.
    pub received: Traffic,
    /// For an address that no end has.
    pub unknown: Traffic,
    /// For an end that did not make room for too long.
    pub full: Traffic,
    /// Of other ends, that the kernel did not take.
    pub refused: Traffic,
}

impl Traffic {
    /// Counts a packet.
    pub fn count(&self, packet: &[u8]) {
        self.packets.set(self.packets.get() + 1);
        self.bytes.set(self.bytes.get() + packet.len() as u64);
    }

    fn to_json(&self) -> Value {
        json!({ "packets": self.packets.get(), "bytes": self.bytes.get() })
    }

    fn to_text(&self) -> String {
        format!("{} packets, {} bytes", self.packets.get(), self.bytes.get())
    }
}

impl Counters {
    fn rows(&self) -> [(&'static str, &Traffic); 5] {
        [
            ("sent", &self.sent),
            ("received", &self.received),
            ("unknown", &self.unknown),
            ("full", &self.full),
            ("refused", &self.refused),
        ]
    }

    /// As an object.
    pub fn to_json(&self) -> Value {
        let rows = self.rows();
        rows.map(|(name, traffic)| (name.to_string(), traffic.to_json()))
            .into_iter()
            .collect()
    }

    /// A line for each.
    pub fn to_text(&self) -> String {
        let rows = self.rows();
        rows.map(|(name, traffic)| format!("{name:<9} {}\n", traffic.to_text()))
            .concat()
    }
}
