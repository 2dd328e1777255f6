// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! To many: one program publishes lines, and each of the others reads all that it has time for.
//!
//! ```text
//! news LINK publish   publishes each line of its standard input, and an empty one at the end
//! news LINK read      shows them up to the empty one; in up to seven programs
//! ```

use std::time::Duration;

use anyhow::{bail, Context, Result};
use ivshmem_channel::Layout;
use ivshmem_channel_samples::{enter, open, AnyLink};

const PUBLISHES: u32 = 0;
const SLOTS: u32 = 8;
const TOPIC: usize = 0;
/// How far a reader may fall behind before it misses something.
const LINES: u32 = 64;
const LONGEST: u32 = 1024;
/// How long the one who publishes may be silent.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [link, "publish"] => publish(&open(link)?),
        [link, "read"] => read(&open(link)?),
        _ => bail!("usage: news LINK publish | news LINK read"),
    }
}

fn layout() -> Layout {
    Layout::new(SLOTS).topic(PUBLISHES, LINES, LONGEST)
}

fn publish(link: &AnyLink) -> Result<()> {
    let member = enter(link, &layout(), |channel| channel.join(PUBLISHES, 0))?;
    let mut lines = member.publisher(TOPIC)?;
    for line in std::io::stdin().lines() {
        lines.publish(line?.as_bytes())?;
    }
    Ok(lines.publish(b"")?)
}

fn read(link: &AnyLink) -> Result<()> {
    let others: Vec<_> = (PUBLISHES + 1..SLOTS).collect();
    let member = enter(link, &layout(), |channel| channel.join_any(&others, 0))?;
    let mut lines = member.subscriber(TOPIC)?;
    println!("reading");
    let mut line = Vec::new();
    loop {
        match lines.next(&mut line, PATIENCE)?.context("no news")? {
            0 => {}
            missed => println!("... {missed} lines were missed"),
        }
        if line.is_empty() {
            return Ok(());
        }
        println!("{}", String::from_utf8_lossy(&line));
    }
}
