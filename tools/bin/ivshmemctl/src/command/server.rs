// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl server`: asks a server how it stands.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use crate::exit::{failure, Exit};
use crate::output::{size, Output};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ask an ivshmem-server on this host how it stands
#[derive(Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Show a server's regions, and who is connected
    #[command(after_help = "\
Examples:
  ivshmem-server --socket-path /tmp/ivshmem.sock --status-socket /tmp/ivshmem.status &
  ivshmemctl server status /tmp/ivshmem.status
  ivshmemctl --json server status /tmp/ivshmem.status | jq '.regions[].peers'")]
    Status {
        /// The server's --status-socket
        socket: PathBuf,
    },
}

/// The members of the server's report that are shown to people.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    version: String,
    pid: u32,
    regions: Vec<Region>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Region {
    name: String,
    size: u64,
    memory: String,
    vectors: u16,
    max_peers: u32,
    counters: Counters,
    peers: Vec<Peer>,
}

#[derive(Deserialize)]
struct Counters {
    joined: u64,
    left: u64,
    refused: u64,
    expelled: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Peer {
    id: u16,
    door: String,
    vectors: usize,
    read_only: bool,
    pid: Option<u32>,
    uid: u32,
    queued: usize,
}

/// Asks.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let Question::Status { socket } = &options.question;
    let report: Value = ask(socket)?;
    let people: Report = serde_json::from_value(report.clone()).with_context(|| {
        format!(
            "what {} says is no report of ivshmem-server",
            socket.display()
        )
    })?;
    output.answer(&report, || text(&people, output))?;
    Ok(Exit::Success)
}

fn ask(path: &PathBuf) -> Result<Value> {
    let mut socket = UnixStream::connect(path).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Permission,
            _ => Exit::NoDevice,
        };
        let message = format!(
            "{}: {error}: give the path of the server's --status-socket, and run as the server's user",
            path.display()
        );
        failure(exit, message)
    })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let advice = || {
        format!(
            "{}: no report came: it is the server's socket for clients, or another program's; give that of \
             --status-socket",
            path.display()
        )
    };
    let mut text = String::new();
    socket.read_to_string(&mut text).with_context(advice)?;
    serde_json::from_str(&text).with_context(advice)
}

fn text(report: &Report, output: Output) -> String {
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
        if !region.peers.is_empty() {
            text += &output.table(&HEADER, region.peers.iter().map(row));
        }
    }
    text
}

const HEADER: [&str; 7] = ["PEER", "DOOR", "VECTORS", "ACCESS", "PID", "UID", "WAITING"];

fn row(peer: &Peer) -> Vec<String> {
    let access = if peer.read_only {
        "read"
    } else {
        "read, write"
    };
    vec![
        peer.id.to_string(),
        peer.door.clone(),
        peer.vectors.to_string(),
        access.into(),
        peer.pid.map_or("-".into(), |pid| pid.to_string()),
        peer.uid.to_string(),
        peer.queued.to_string(),
    ]
}
