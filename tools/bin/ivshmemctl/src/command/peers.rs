// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl peers`: who shares the memory.

mod members;

use std::path::Path;

use anyhow::Result;
use clap::Args;
use ivshmem::{Doorbell, Memory};
use serde_json::json;

use crate::completion;
use crate::end::{join, End};
use crate::exit::Exit;
use crate::output::{size, Output};
use crate::parse;

/// List who shares the memory: on a host all peers, in a guest those that joined a channel
///
/// A server tells who is connected to it: with its socket this joins for a moment, and lists them. A device tells nobody's
/// ID but its own. So in a guest, or with --offset, this lists the programs that have joined the channel in the memory,
/// such as chat, cp, tunnel and forward, without joining: "present", or "lost" if they have been silent for too long.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl peers
  ivshmemctl peers --offset 1M
  ivshmemctl peers /tmp/ivshmem.sock
  ivshmemctl --json peers | jq '.members[].peer_id'")]
pub struct Options {
    #[command(flatten)]
    end: End,

    /// The same as --join SOCKET
    #[arg(add = completion::sockets(), conflicts_with = "join")]
    socket: Option<String>,

    /// Where the channel begins; 0 in a guest
    #[arg(short = 's', long, value_name = "OFFSET", value_parser = parse::number)]
    offset: Option<u64>,
}

/// Lists them.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let end = options.end.or_socket(options.socket.as_deref());
    match (end.socket(), options.offset) {
        (Some(socket), None) => connected(&socket, output),
        (_, offset) => members::list(&end, offset.unwrap_or(0), output),
    }
}

/// Joins, and lists who else is connected.
fn connected(socket: &Path, output: Output) -> Result<Exit> {
    let peer = join(socket)?;
    let members = peer.members().peers;
    let others: Vec<_> = members
        .iter()
        .map(|(id, vectors)| json!({ "peer_id": id, "vectors": vectors }))
        .collect();
    let answer = json!({
        "peer_id": peer.peer_id(),
        "size": peer.size(),
        "sealed": peer.is_sealed(),
        "others": others,
    });
    output.answer(&answer, || {
        let rows = members
            .iter()
            .map(|(id, vectors)| vec![id.to_string(), vectors.to_string()]);
        let sealed = match peer.is_sealed() {
            true => "sealed: nobody can shrink it",
            false => "not sealed: any peer can shrink it, which would end the others",
        };
        let mut text = format!("{} of memory; {sealed}\n", size(peer.size()));
        text += &match members.len() {
            0 => "nobody else is there\n".into(),
            _ => output.table(&["PEER", "VECTORS"], rows),
        };
        text
    })?;
    Ok(Exit::Success)
}
