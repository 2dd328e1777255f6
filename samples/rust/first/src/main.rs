// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `first-program LINK` prints its peer ID and sleeps; `first-program LINK PEER` elsewhere adds 1 to a word and rings it.

use std::sync::atomic::Ordering;

use anyhow::Context;
use ivshmem::{AnyEndpoint, Link};
use ivshmem_peer::Peer;

/// Where the word is: programs have to agree on it, and `ivshmemctl chat` and others use the memory's beginning.
const WORD: u64 = 2 << 20;

/// The vector that is rung. Every guest that can be rung has it.
const VECTOR: u32 = 0;

/// Opens a device by its node or PCI address, or on the host joins by the socket of a server.
fn open(path: &str) -> anyhow::Result<Box<dyn Link>> {
    Ok(match path.starts_with("/dev/") || !path.contains('/') {
        true => Box::new(AnyEndpoint::open(path)?),
        false => Box::new(Peer::join(path)?),
    })
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .context("usage: first-program LINK [PEER]")?;
    let link = open(&path)?;
    match arguments.next() {
        Some(peer) => {
            let before = link.load32(WORD, Ordering::Acquire)?;
            link.store32(WORD, before.wrapping_add(1), Ordering::Release)?;
            // No error in a guest if there is no such peer: the device does not tell.
            link.ring(peer.parse()?, VECTOR)?;
        }
        None => {
            // Read before anybody is told where to ring, so that no change is missed.
            let before = link.load32(WORD, Ordering::Acquire)?;
            println!("peer {}", link.peer_id());
            link.wait_word(WORD, before, None)?;
        }
    }
    println!("{}", link.load32(WORD, Ordering::Acquire)?);
    Ok(())
}
