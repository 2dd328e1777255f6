// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Requests and replies: one program adds numbers for four others.
//!
//! ```text
//! rpc LINK serve       answers until it is ended
//! rpc LINK ask COUNT   asks COUNT times; in up to four programs
//! ```

use std::time::Duration;

use anyhow::{bail, Context, Result};
use ivshmem_channel::{rpc, Error};
use ivshmem_channel_samples::{enter, open, AnyLink};

const CLIENTS: u32 = 4;
/// Bytes of the ring buffers from and to each client: some of the largest messages.
const RING: u32 = 4096;
/// How long an answer may take.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [link, "serve"] => serve(&open(link)?),
        [link, "ask", count] => ask(&open(link)?, count.parse()?),
        _ => bail!("usage: rpc LINK serve | rpc LINK ask COUNT"),
    }
}

fn serve(link: &AnyLink) -> Result<()> {
    let layout = rpc::layout(CLIENTS, RING, RING);
    let mut server = enter(link, &layout, |channel| rpc::Server::join(channel, 0))?;
    println!("serving");
    loop {
        match server.next(None) {
            Ok(Some(request)) => {
                let numbers = request.body.chunks_exact(8).map(number);
                let sum = numbers.fold(0, u64::wrapping_add);
                server.reply(&request, &sum.to_le_bytes())?;
            }
            Ok(None) => {}
            // That one's alone: the others are served.
            Err(Error::CorruptLane { from, what }) => eprintln!("slot {from}: {what}"),
            Err(other) => return Err(other.into()),
        }
    }
}

fn ask(link: &AnyLink, count: u64) -> Result<()> {
    let layout = rpc::layout(CLIENTS, RING, RING);
    let mut client = enter(link, &layout, |channel| rpc::Client::join(channel, 0))?;
    for n in 0..count {
        let request: Vec<u8> = [n, 1, 2].iter().flat_map(|n| n.to_le_bytes()).collect();
        let answer = loop {
            match client.call(&request, PATIENCE) {
                // To add numbers twice does no harm, so: ask the next one.
                Err(Error::PeerLost(_)) => eprintln!("the server is gone, waiting for another"),
                answer => break answer?,
            }
        };
        let sum = number(
            answer
                .as_slice()
                .get(..8)
                .context("the answer is too short")?,
        );
        if sum != n + 3 {
            bail!("{n} + 3 is not {sum}");
        }
    }
    println!("{count} answers");
    Ok(())
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}
