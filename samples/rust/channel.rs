// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Messages between guests through a channel: each says something to the one that listens.
//!
//! ```text
//! channel 2              listens for two messages, in slot 0
//! channel 1 "hello"      in another guest, or as another process: speaks, in slot 1
//! channel 2 "good day"   in a third one
//! ```
//!
//! The listener sleeps in one place for all of them, and a speaker that crashes holds nobody up.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use ivshmem::Endpoint;
use ivshmem_channel::{Channel, Layout, Member};
use ivshmem_samples::run;

const LISTENER: u32 = 0;
const SLOTS: u32 = 4;
/// Where the channel begins, away from the other samples.
const BASE: u64 = 1 << 20;
/// How long to wait for the other side.
const LIMIT: Option<Duration> = Some(Duration::from_secs(60));

fn main() -> ExitCode {
    run("channel [-d DEVICE] COUNT | SLOT TEXT", 2, |sample| {
        let (slot, count) = match sample.words.len() {
            2 => (sample.number(0, SLOTS - 1)?, None),
            _ => (Some(LISTENER), sample.number(0, u32::MAX)?),
        };
        let slot = slot.unwrap_or(LISTENER);
        let end = Endpoint::of(sample.device)?;
        let layout = Layout::new(SLOTS).multi_ring(LISTENER, 1 << 14);
        let member = Channel::open_or_create(&end, BASE, &layout)?.join(slot, 0)?;
        match sample.words.get(1) {
            Some(text) => Ok(member.sender(LISTENER)?.send(text.as_bytes(), LIMIT)?),
            None => listen(&member, count.unwrap_or(1)),
        }
    })
}

fn listen(member: &Member<&Endpoint>, count: u32) -> anyhow::Result<()> {
    let mut receiver = member.multi_receiver()?;
    println!("listening");
    for _ in 0..count {
        let message = receiver.next(LIMIT)?.context("nobody says anything")?;
        let text = message.to_vec()?;
        let from = message.from();
        println!("slot {from} says: {}", String::from_utf8_lossy(&text));
        message.done()?;
    }
    Ok(receiver.release()?)
}
