// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl peers`: who shares memory with a server's machines.

use anyhow::Result;
use clap::Args;
use ivshmem::{Doorbell, Memory};
use serde_json::json;

use crate::end::join;
use crate::exit::Exit;
use crate::output::{size, Output};
use crate::socket;

/// Join a server's machines for a moment, and list who is there
///
/// Every command that has the option --join works on a host: it takes the place of a device.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl peers /tmp/ivshmem.sock
  ivshmemctl ring --join /tmp/ivshmem.sock 0 3
  ivshmemctl wait --join /tmp/ivshmem.sock --timeout 10
  ivshmemctl dump --join /tmp/ivshmem.sock --length 256")]
pub struct Options {
    /// The server's --socket-path, or NAME for /run/ivshmem/NAME.sock; without it what IVSHMEM_SOCKET says
    socket: Option<String>,
}

/// Joins and lists.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let peer = join(&socket::given(options.socket.as_deref())?)?;
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
            true => "nobody can shrink it",
            false => "any peer can shrink it, which would end the others",
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
