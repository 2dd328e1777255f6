// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A report for people.

use super::report::{Peer, Report};
use crate::output::{size, Output};

/// Lines for the server and its regions, and a table of each region's clients.
pub fn text(report: &Report, output: Output) -> String {
    let mut text = format!("ivshmem-server {}, pid {}\n", report.version, report.pid);
    for region in &report.regions {
        let counters = &region.counters;
        text += &format!(
            "\n{}: {} ({}), {} vectors, {} of {} peers; {} joined, {} left, {} refused, {} expelled\n",
            region.name,
            size(region.size),
            region.memory,
            region.vectors,
            region.peers.len(),
            region.max_peers,
            counters.joined,
            counters.left,
            counters.refused,
            counters.expelled
        );
        if region.drained {
            text += "drained: nobody else is let in\n";
        }
        if !region.peers.is_empty() {
            text += &output.table(&HEADER, region.peers.iter().map(row));
        }
    }
    text
}

const HEADER: [&str; 7] = [
    "PEER", "SOCKET", "VECTORS", "ACCESS", "PID", "UID", "WAITING",
];

fn row(peer: &Peer) -> Vec<String> {
    let access = if peer.read_only {
        "read"
    } else {
        "read, write"
    };
    vec![
        peer.id.to_string(),
        peer.socket.clone(),
        peer.vectors.to_string(),
        access.into(),
        peer.pid.map_or("-".into(), |pid| pid.to_string()),
        peer.uid.to_string(),
        peer.queued.to_string(),
    ]
}
