// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Sends one message: `send LINK TEXT`. It stays in the memory until `receive` takes it.

use anyhow::Context;
use first_channel::{layout, open, RECEIVER, SENDER};
use ivshmem_channel::Channel;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().context("usage: send LINK TEXT")?;
    let text = arguments.next().context("usage: send LINK TEXT")?;

    // Whichever program comes first makes the channel, at byte 0 of the memory. This one is rung on its vector 0.
    let link = open(&path)?;
    let me = Channel::create_or_join(link, 0, &layout(), |channel| channel.join(SENDER, 0))?;

    // `None`: waits for room, if it has to, for ever.
    me.sender(RECEIVER)?.send(text.as_bytes(), None)?;
    Ok(())
}
