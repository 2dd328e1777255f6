// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl info`: all that the driver says of a device.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use ivshmem::{Doorbell, Info, Memory};
use ivshmem_peer::Peer;
use serde::Serialize;

use crate::end::{settle, End, Opened};
use crate::exit::Exit;
use crate::output::{size, subsystem, Output};

/// Show what the driver says about a device, or a server about its memory
///
/// The generation counts how often the guest was resumed and the device reset since the driver was bound: who finds another
/// one than before may have missed rings. The vectors are those that the driver has armed, of those that the device offers.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl info
  ivshmemctl info --device 0000:00:04.0
  ivshmemctl --json info | jq .size
  ivshmemctl info --join /tmp/ivshmem.sock")]
pub struct Options {
    #[command(flatten)]
    end: End,
}

#[derive(Serialize)]
struct Answer {
    node: String,
    bus_id: String,
    abi_version: u32,
    size: u64,
    cache: String,
    page_size: u64,
    doorbell: bool,
    peer_id: u32,
    peer_id_overridden: bool,
    vectors: u32,
    vectors_offered: u32,
    registers_mappable: bool,
    generation: u32,
    revision: u32,
    subsystem: String,
}

/// What a peer on a host knows.
#[derive(Serialize)]
struct PeerAnswer {
    socket: PathBuf,
    size: u64,
    read_only: bool,
    sealed: bool,
    peer_id: u32,
    vectors: u32,
    other_peers: usize,
}

/// Shows it.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    match options.end.open()? {
        Opened::Device(device) => {
            let answer = answer(device.path().display().to_string(), device.info()?);
            output.answer(&answer, || text(&answer))?;
        }
        Opened::Peer(peer, socket) => {
            let answer = peer_answer(&peer, socket);
            output.answer(&answer, || peer_text(&answer))?;
        }
    }
    Ok(Exit::Success)
}

fn answer(node: String, info: Info) -> Answer {
    Answer {
        node,
        abi_version: info.abi_version,
        size: info.size,
        cache: info.cache.to_string(),
        page_size: info.page_size,
        doorbell: info.doorbell,
        peer_id: info.peer_id,
        peer_id_overridden: info.peer_id_overridden,
        vectors: info.vectors,
        vectors_offered: info.vectors_offered,
        registers_mappable: info.registers_mappable,
        generation: info.generation,
        revision: info.revision,
        subsystem: subsystem(info.subsystem_vendor, info.subsystem_device),
        bus_id: info.bus_id,
    }
}

fn peer_answer(peer: &Peer, socket: PathBuf) -> PeerAnswer {
    settle(peer);
    PeerAnswer {
        socket,
        size: peer.size(),
        read_only: peer.is_read_only(),
        sealed: peer.is_sealed(),
        peer_id: peer.peer_id(),
        vectors: peer.vectors(),
        other_peers: peer.members().peers.len(),
    }
}

fn peer_text(answer: &PeerAnswer) -> String {
    let access = match answer.read_only {
        true => "read only",
        false => "read and write",
    };
    let sealed = match answer.sealed {
        true => "yes: nobody can shrink the memory",
        false => "no: any peer can shrink the memory, which would end the others",
    };
    lines(&[
        ("server", answer.socket.display().to_string()),
        ("memory", size(answer.size)),
        ("access", access.into()),
        ("sealed", sealed.into()),
        (
            "peer ID",
            format!("{} (a new one each time)", answer.peer_id),
        ),
        ("doorbell", format!("{} vectors", answer.vectors)),
        ("other peers", answer.other_peers.to_string()),
    ])
}

fn lines(rows: &[(&str, String)]) -> String {
    rows.iter()
        .map(|(name, value)| format!("{name:<14} {value}\n"))
        .collect()
}

fn text(answer: &Answer) -> String {
    let doorbell = match answer.doorbell {
        true => format!("{} of {} vectors", answer.vectors, answer.vectors_offered),
        false => "none: memory only".into(),
    };
    let overridden = match answer.peer_id_overridden {
        true => " (from the module parameter peer_id)",
        false => "",
    };
    lines(&[
        ("node", answer.node.clone()),
        ("PCI address", answer.bus_id.clone()),
        (
            "PCI subsystem",
            format!("{}, revision {}", answer.subsystem, answer.revision),
        ),
        ("memory", size(answer.size)),
        ("cache", answer.cache.clone()),
        ("page size", format!("up to {}", size(answer.page_size))),
        ("peer ID", format!("{}{overridden}", answer.peer_id)),
        ("doorbell", doorbell),
        ("generation", answer.generation.to_string()),
        ("interface", format!("version {}", answer.abi_version)),
    ])
}
