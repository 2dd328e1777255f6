// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A sensor in a guest of one host, and a viewer in one of another; `ivshmem-bridge` runs on both hosts. The files of
//! `tools/bin/ivshmem-bridge/samples` say what it carries.
//!
//! ```text
//! sensor LINK measure COUNT   publishes COUNT temperatures, two a second
//! sensor LINK view            shows what comes from the other host, until the last one
//! ```

use std::time::Duration;

use anyhow::{bail, Context, Result};
use ivshmem_channel::Layout;
use ivshmem_channel_samples::{enter, open, AnyLink};

/// Slots: the sensor, the bridge, and viewers between them.
const SENSOR: u32 = 0;
const BRIDGE: u32 = 7;
const SLOTS: u32 = 8;
/// Topics: what this host has measured, and what the bridge brings.
const MEASURED: usize = 0;
const BROUGHT: usize = 1;
/// How often to measure.
const MEASURE: Duration = Duration::from_millis(500);
/// How long nothing may come.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

fn main() -> Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [link, "measure", count] => measure(&open(link)?, count.parse()?),
        [link, "view"] => view(&open(link)?),
        _ => bail!("usage: sensor LINK measure COUNT | sensor LINK view"),
    }
}

fn layout() -> Layout {
    let layout = Layout::new(SLOTS).topic(SENSOR, 16, 64);
    layout.topic(BRIDGE, 16, 64)
}

/// Values are texts that every program of Zenoh can read: number, how many there will be, and degrees Celsius.
fn measure(link: &AnyLink, count: u32) -> Result<()> {
    let member = enter(link, &layout(), |channel| channel.join(SENSOR, 0))?;
    let mut values = member.publisher(MEASURED)?;
    for number in 1..=count {
        let celsius = 20.0 + f64::from(number % 10) / 10.0;
        values.publish(format!("{number}/{count} {celsius:.1}").as_bytes())?;
        std::thread::sleep(MEASURE);
    }
    Ok(())
}

fn view(link: &AnyLink) -> Result<()> {
    let viewers: Vec<_> = (SENSOR + 1..BRIDGE).collect();
    let member = enter(link, &layout(), |channel| channel.join_any(&viewers, 0))?;
    let mut values = member.subscriber(BROUGHT)?;
    let mut bytes = Vec::new();
    loop {
        values
            .newest(&mut bytes, PATIENCE)?
            .context("nobody measures, or no bridge brings it")?;
        let text = std::str::from_utf8(&bytes).context("another value")?;
        println!("{text}");
        let (number, rest) = text.split_once('/').context("another value")?;
        if rest
            .split_once(' ')
            .is_some_and(|(count, _)| count == number)
        {
            return Ok(());
        }
    }
}
