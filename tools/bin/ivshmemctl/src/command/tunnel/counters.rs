// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a tunnel has carried, and what not.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{json, Value};

/// Packets and their bytes.
#[derive(Debug, Default)]
pub struct Traffic {
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// Numbers since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Of the kernel, to other endpoints.
    pub sent: Traffic,
    /// Of other endpoints, to the kernel.
    pub received: Traffic,
    /// For an address that no endpoint has.
    pub unknown: Traffic,
    /// For an endpoint that did not make room for too long.
    pub full: Traffic,
    /// Of other endpoints, that the kernel did not take.
    pub refused: Traffic,
}

impl Traffic {
    /// Counts a packet of so many bytes.
    pub fn count(&self, length: usize) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
    }

    fn get(&self) -> (u64, u64) {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (get(&self.packets), get(&self.bytes))
    }

    fn to_json(&self) -> Value {
        let (packets, bytes) = self.get();
        json!({ "packets": packets, "bytes": bytes })
    }

    fn to_text(&self) -> String {
        let (packets, bytes) = self.get();
        format!("{packets} packets, {bytes} bytes")
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
