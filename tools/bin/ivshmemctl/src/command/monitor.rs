// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl monitor`: counts interrupts live.

mod counts;
mod screen;

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use ivshmem::{EventPage, Info, Mode};
use serde_json::json;

use crate::end::DeviceName;
use crate::exit::{failure, Exit};
use crate::output::Output;
use crate::parse;
use counts::{Counts, Snapshot};

/// Count this end's interrupts live, for each vector
///
/// Fills the screen on a terminal: q ends it. Elsewhere, or with --plain, writes a line for each interval.
/// The numbers are the driver's own since it was bound, so that nobody who waits loses an event by this.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl monitor
  ivshmemctl monitor --plain --interval 500ms --count 3
  ivshmemctl --json monitor --count 1")]
pub struct Options {
    #[command(flatten)]
    device: DeviceName,

    /// Time between two looks
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = parse::duration)]
    interval: Duration,

    /// End after so many intervals
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,

    /// Lines, on a terminal too
    #[arg(long)]
    plain: bool,
}

/// Counts until told to end, or the device goes away.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let device = options.device.open(Mode::ReadOnly)?;
    let info = device.info()?;
    let page = device.event_page()?;
    let mut counts = Counts::new(info.vectors, look(&page, &info));
    if output.is_terminal() && !output.is_json() && !options.plain {
        let node = device.path().display().to_string();
        screen::run(
            &node,
            &info,
            &mut counts,
            || look(&page, &info),
            options.interval,
            options.count,
        )?;
        return match counts.dead() {
            true => Err(gone()),
            false => Ok(Exit::Success),
        };
    }
    lines(options, &info, &page, counts, output)
}

fn lines(
    options: &Options,
    info: &Info,
    page: &EventPage,
    mut counts: Counts,
    output: Output,
) -> Result<Exit> {
    let mut intervals = 0;
    while options.count.is_none_or(|count| intervals < count) {
        sleep(options.interval);
        intervals += 1;
        counts.add(look(page, info));
        output.answer(&json_of(&counts), || line(&counts))?;
        if counts.dead() {
            return Err(gone());
        }
    }
    Ok(Exit::Success)
}

fn look(page: &EventPage, info: &Info) -> Snapshot {
    // Dead first: no interrupt is counted after it.
    let dead = page.is_dead();
    let interrupts = (0..info.vectors).map(|vector| page.interrupts(vector).unwrap_or(0));
    Snapshot::now(interrupts.collect(), dead)
}

fn gone() -> anyhow::Error {
    let message = "the device is gone: unplugged, or its driver was unbound";
    failure(Exit::NoDevice, message)
}

fn json_of(counts: &Counts) -> serde_json::Value {
    let vectors: Vec<_> = counts
        .rows()
        .map(|row| json!({ "vector": row.vector, "interrupts": row.interrupts, "per-second": row.rate }))
        .collect();
    json!({ "seconds": counts.seconds(), "dead": counts.dead(), "vectors": vectors })
}

fn line(counts: &Counts) -> String {
    let vectors: Vec<_> = counts
        .rows()
        .map(|row| format!("{}: {} (+{:.0}/s)", row.vector, row.interrupts, row.rate))
        .collect();
    format!("{:8.1} s  {}", counts.seconds(), vectors.join("  "))
}
