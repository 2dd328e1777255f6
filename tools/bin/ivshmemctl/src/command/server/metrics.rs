// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A report as metrics, in the text format of OpenMetrics.
//!
//! Prometheus' own text format reads the same: it has no type for what begins with `# TYPE` and ends otherwise, and takes
//! `# EOF` for a comment. So no type is used that only one of them has.

use std::fmt::{Display, Write};

use super::report::{Peer, Region, Report};

/// All metrics of a report.
pub fn text(report: &Report) -> String {
    let mut text = Text(String::new());
    server(&mut text, report);
    regions(&mut text, &report.regions);
    peers(&mut text, &report.regions);
    text.0 += "# EOF\n";
    text.0
}

fn server(text: &mut Text, report: &Report) {
    text.family(
        "ivshmem_server_build_info",
        "gauge",
        "Version of the server.",
    );
    text.sample(
        "ivshmem_server_build_info",
        &[("version", &report.version)],
        1,
    );
    let mut gauge = |name, help, value: Option<u64>| {
        if let Some(value) = value {
            text.family(name, "gauge", help);
            text.sample(name, &[], value);
        }
    };
    gauge(
        "ivshmem_server_successor",
        "1 if a service manager keeps all that the next server needs.",
        Some(report.successor.into()),
    );
    gauge(
        "ivshmem_server_stored_descriptors",
        "Descriptors that the service manager keeps.",
        report.store,
    );
    gauge(
        "ivshmem_server_stored_descriptors_limit",
        "Descriptors that the service manager can keep.",
        report.store_room,
    );
    gauge(
        "ivshmem_server_in_flight_limit",
        "Messages that can be in the socket of a client that does not read.",
        Some(report.in_flight as u64),
    );
    gauge(
        "ivshmem_server_open_files_limit",
        "Descriptors that the server can have open.",
        report.open_files,
    );
}

fn regions(text: &mut Text, regions: &[Region]) {
    let mut each = |name, kind, help, sample, value: fn(&Region) -> u64| {
        text.family(name, kind, help);
        for region in regions {
            text.sample(sample, &[("region", &region.name)], value(region));
        }
    };
    let mut gauge = |name, help, value| each(name, "gauge", help, name, value);
    gauge(
        "ivshmem_region_size_bytes",
        "Size of the memory.",
        |region| region.size,
    );
    gauge(
        "ivshmem_region_vectors",
        "Vectors of each client.",
        |region| region.vectors.into(),
    );
    gauge(
        "ivshmem_region_peers",
        "Clients that are connected.",
        |region| region.peers.len() as u64,
    );
    gauge(
        "ivshmem_region_peers_limit",
        "Clients that can be connected.",
        |region| region.max_peers.into(),
    );
    gauge(
        "ivshmem_region_starved_peers",
        "Clients to which sending has to wait, as the system lacks something.",
        |region| region.starved as u64,
    );
    gauge(
        "ivshmem_region_queued_messages",
        "Messages that have not been sent yet, as clients do not read.",
        |region| region.peers.iter().map(|peer| peer.queued as u64).sum(),
    );
    gauge(
        "ivshmem_region_drained",
        "1 if nobody else is let in, as the operator wants.",
        |region| region.drained.into(),
    );
    each(
        "ivshmem_region_joins",
        "counter",
        "Clients that were let in.",
        "ivshmem_region_joins_total",
        |region| region.counters.joined,
    );
    each(
        "ivshmem_region_leaves",
        "counter",
        "Clients that went.",
        "ivshmem_region_leaves_total",
        |region| region.counters.left,
    );
    each(
        "ivshmem_region_expulsions",
        "counter",
        "Clients that were dropped because they did what no client may.",
        "ivshmem_region_expulsions_total",
        |region| region.counters.expelled,
    );
    each(
        "ivshmem_region_dismissals",
        "counter",
        "Clients that were dropped because the operator wanted it.",
        "ivshmem_region_dismissals_total",
        |region| region.counters.dismissed,
    );
    text.family(
        "ivshmem_region_refusals",
        "counter",
        "Connections that were refused, by reason.",
    );
    for region in regions {
        for (reason, count) in &region.counters.refusals {
            let labels = [("region", &*region.name), ("reason", reason)];
            text.sample("ivshmem_region_refusals_total", &labels, *count);
        }
    }
}

fn peers(text: &mut Text, regions: &[Region]) {
    let mut each = |name, help, value: fn(&Peer) -> u64| {
        text.family(name, "gauge", help);
        for region in regions {
            for peer in &region.peers {
                let (id, uid) = (peer.id.to_string(), peer.uid.to_string());
                let labels = [
                    ("region", &*region.name),
                    ("peer", &id),
                    ("socket", &peer.socket),
                    ("uid", &uid),
                ];
                text.sample(name, &labels, value(peer));
            }
        }
    };
    each(
        "ivshmem_peer_queued_messages",
        "Messages that the client has not been sent yet, as it does not read.",
        |peer| peer.queued as u64,
    );
    each("ivshmem_peer_vectors", "Vectors of the client.", |peer| {
        peer.vectors as u64
    });
}

/// Metrics as text.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.0 += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0 += name;
        for (index, (label, text)) in labels.iter().enumerate() {
            let start = if index == 0 { '{' } else { ',' };
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            // Writing to a string does not fail.
            let _ = write!(self.0, "{start}{label}=\"{text}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_their_quotes() {
        let mut text = Text(String::new());
        text.sample("a", &[("b", "c\"d\\e\nf"), ("g", "")], 7);
        assert_eq!(text.0, "a{b=\"c\\\"d\\\\e\\nf\",g=\"\"} 7\n");
    }
}
