// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! "hello" on the host: a process that joins the guests' server as a peer of its own, and talks with `hello` in a
//! guest.
//!
//! ```text
//! host_peer SOCKET         waits to be rung, and prints what was written
//! host_peer SOCKET PEER    writes a line, and rings the guest that waits as PEER
//! ```
//!
//! It needs no device and no driver, and the right to connect to the server's socket. It has another peer ID each time, unless
//! the server has a fixed one for it.

use std::process::ExitCode;

use anyhow::{bail, Context};
use ivshmem::{Doorbell, Memory, Waiter};
use ivshmem_peer::Peer;

/// Bytes at the start of the memory in which the line is, filled up with 0.
const LINE: usize = 64;

/// Vector that is rung.
const VECTOR: u32 = 0;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let result = match &words[..] {
        [socket] if !socket.starts_with('-') => listen(socket),
        [socket, peer] => greet(socket, peer),
        _ => {
            eprintln!("usage: host_peer SOCKET [PEER]");
            return ExitCode::from(2);
        }
    };
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    eprintln!("host_peer: {error:#}");
    ExitCode::FAILURE
}

fn listen(socket: &str) -> anyhow::Result<()> {
    let peer = Peer::join(socket)?;
    println!("waiting: run \"hello {}\" in a guest", peer.peer_id());
    peer.wait(1 << VECTOR, None)?;
    let mut line = [0; LINE];
    // A copy: others can write at any time.
    peer.read(0, &mut line)?;
    let text = line.split(|byte| *byte == 0).next().unwrap_or_default();
    println!("vector {VECTOR}: {}", String::from_utf8_lossy(text));
    Ok(())
}

fn greet(socket: &str, id: &str) -> anyhow::Result<()> {
    let id = id.parse().context("PEER is a number")?;
    let peer = Peer::join(socket)?;
    let mut line = format!("hello from peer {}", peer.peer_id()).into_bytes();
    line.resize(LINE, 0);
    peer.write(0, &line)?;
    // What was written before is visible to who wakes. Unlike a device, a server tells who is there.
    if !peer.try_ring(id, VECTOR)? {
        bail!("there is no peer {id}: `ivshmemctl peers {socket}` lists them");
    }
    Ok(())
}
