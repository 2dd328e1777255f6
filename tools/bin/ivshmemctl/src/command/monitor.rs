// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl monitor`: counts interrupts live.

mod counts;
mod screen;

use std::thread::sleep;

use anyhow::Result;
use clap::Args;
use ivshmem::{Device, Doorbell, Memory};
use ivshmem_peer::Peer;
use serde_json::json;

use crate::end::{settle, End, Opened};
use crate::exit::{gone, Exit};
use crate::fullscreen;
use crate::output::{size, Output};
use crate::sampling::Sampling;
use counts::{Counts, Snapshot};
use screen::Screen;

/// Count the interrupts of this endpoint live, for each vector
///
/// Fills the screen on a terminal: q ends it. Elsewhere, or with --plain, prints a line for each interval.
/// The numbers are the driver's own since it was bound, so that nobody who waits loses an event by this. With --join
/// they are the rings of a new peer.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl monitor
  ivshmemctl monitor --plain --interval 0.5 --count 3
  ivshmemctl --json monitor --count 1")]
pub struct Options {
    #[command(flatten)]
    end: End,

    #[command(flatten)]
    sampling: Sampling,

    /// Print lines even on a terminal
    #[arg(long)]
    plain: bool,
}

/// What is counted: its title on the screen, and what looks at it.
struct Source {
    title: String,
    look: Box<dyn Fn() -> Snapshot>,
}

/// Counts until told to end, or the device goes away.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let source = match options.end.open()? {
        Opened::Device(device) => of_device(&device)?,
        Opened::Peer(peer, socket) => of_peer(peer, &socket.display().to_string()),
    };
    let mut counts = Counts::new((source.look)());
    if output.is_terminal() && !output.is_json() && !options.plain {
        let mut screen = Screen {
            title: source.title,
            counts: &mut counts,
            count: &source.look,
        };
        fullscreen::run(
            &mut screen,
            options.sampling.interval,
            options.sampling.count,
        )?;
        return match counts.dead() {
            true => Err(gone()),
            false => Ok(Exit::Success),
        };
    }
    lines(options, &source, counts, output)
}

fn of_device(device: &Device) -> Result<Source> {
    let info = device.info()?;
    let page = device.event_page()?;
    let title = format!(
        "{}  {}  {} {}  peer {}  {} vectors",
        device.path().display(),
        info.bus_id,
        size(info.size),
        info.cache,
        info.peer_id,
        info.vectors
    );
    let look = move || {
        // Dead first: no interrupt is counted after it.
        let dead = page.is_dead();
        let interrupts = (0..info.vectors).map(|vector| page.interrupts(vector).unwrap_or(0));
        Snapshot::now(interrupts.collect(), dead)
    };
    let look = Box::new(look);
    Ok(Source { title, look })
}

fn of_peer(peer: Peer, socket: &str) -> Source {
    settle(&peer);
    let title = format!(
        "{socket}  {}  peer {}  {} vectors",
        size(peer.size()),
        peer.peer_id(),
        peer.vectors()
    );
    let vectors = peer.vectors();
    let look = move || {
        let rings = (0..vectors).map(|vector| peer.rings(vector).unwrap_or(0));
        // A peer outlives its server.
        Snapshot::now(rings.collect(), false)
    };
    let look = Box::new(look);
    Source { title, look }
}

fn lines(options: &Options, source: &Source, mut counts: Counts, output: Output) -> Result<Exit> {
    let mut intervals = 0;
    while options.sampling.count.is_none_or(|count| intervals < count) {
        sleep(options.sampling.interval);
        intervals += 1;
        counts.add((source.look)());
        output.answer(&json_of(&counts), || line(&counts))?;
        if counts.dead() {
            return Err(gone());
        }
    }
    Ok(Exit::Success)
}

fn json_of(counts: &Counts) -> serde_json::Value {
    let vectors: Vec<_> = counts
        .rows()
        .map(|row| json!({ "vector": row.vector, "interrupts": row.interrupts, "per_second": row.rate }))
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
