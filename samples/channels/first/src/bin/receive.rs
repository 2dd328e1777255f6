// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Prints what `send` sends, until Ctrl-C: `receive LINK`.

use anyhow::Context;
use first_channel::{layout, open, RECEIVER, SENDER};
use ivshmem_channel::Channel;

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("usage: receive LINK")?;

    let link = open(&path)?;
    let me = Channel::create_or_join(link, 0, &layout(), |channel| channel.join(RECEIVER, 0))?;
    let mut from = me.receiver(SENDER)?;

    // Another guest wrote it, so it may be anything: it is shown with quotes and escapes.
    let mut message = Vec::new();
    while from.receive(&mut message, None)? {
        println!("{:?}", String::from_utf8_lossy(&message));
    }
    Ok(())
}
