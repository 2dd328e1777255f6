// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The newest value: one program measures all the time, others look when they want to.
//!
//! ```text
//! latest LINK measure COUNT   publishes COUNT values, without waiting for anybody
//! latest LINK show            shows the newest ten times a second, until the last one
//! ```

use std::time::Duration;

use anyhow::{bail, Context, Result};
use ivshmem_channel::Layout;
use ivshmem_channel_samples::{enter, open, AnyLink};

const MEASURES: u32 = 0;
const SLOTS: u32 = 8;
const TOPIC: usize = 0;
/// How often to measure, and to show.
const MEASURE: Duration = Duration::from_micros(500);
const SHOW: Duration = Duration::from_millis(100);
/// How long the one who measures may be silent.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

/// A value as it is in the memory: number, how many there will be, and what was measured.
type Bytes = [u8; 24];

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [link, "measure", count] => measure(&open(link)?, count.parse()?),
        [link, "show"] => show(&open(link)?),
        _ => bail!("usage: latest LINK measure COUNT | latest LINK show"),
    }
}

fn layout() -> Layout {
    // Who looks has to copy a value before two others are published: three buffers.
    Layout::new(SLOTS).topic(MEASURES, 3, 64)
}

fn measure(link: &AnyLink, count: u64) -> Result<()> {
    let member = enter(link, &layout(), |channel| channel.join(MEASURES, 0))?;
    let mut values = member.publisher(TOPIC)?;
    for n in 1..=count {
        let mut bytes: Bytes = [0; 24];
        for (field, value) in bytes.chunks_exact_mut(8).zip([n, count, n * n]) {
            field.copy_from_slice(&value.to_le_bytes());
        }
        values.publish(&bytes)?;
        std::thread::sleep(MEASURE);
    }
    Ok(())
}

fn show(link: &AnyLink) -> Result<()> {
    let others: Vec<_> = (MEASURES + 1..SLOTS).collect();
    let member = enter(link, &layout(), |channel| channel.join_any(&others, 0))?;
    let mut values = member.subscriber(TOPIC)?;
    let mut bytes = Vec::new();
    loop {
        let missed = values.newest(&mut bytes, PATIENCE)?;
        let missed = missed.context("nobody measures")?;
        let bytes: Bytes = bytes.as_slice().try_into().context("another value")?;
        let [n, count, measured] = [0, 8, 16].map(|at| {
            let field = bytes[at..].first_chunk();
            u64::from_le_bytes(*field.expect("there are as many bytes"))
        });
        // Another guest wrote it, so the product may be too large.
        if measured != n.wrapping_mul(n) {
            bail!("value {n} is torn: {measured}");
        }
        println!("value {n} is {measured}; {missed} were not shown");
        if n == count {
            return Ok(());
        }
        std::thread::sleep(SHOW);
    }
}
