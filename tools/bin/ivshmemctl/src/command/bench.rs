// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl bench`: what the device costs, beside what else would do, in one run.

mod bytes;
mod memory;
mod party;
mod report;
mod rounds;
mod timing;

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use ivshmem::{Doorbell, Info, MAX_PEER};
use serde::Serialize;

use crate::end::DeviceName;
use crate::exit::Exit;
use crate::output::{size, Output};
use crate::parse;
use party::Party;
use report::{Report, Row, Unit};
use timing::processors;

/// Measure the device beside plain memory, sockets, pipes and eventfds
///
/// Everything is measured in the same run, and what counts are the ratios: how many times as fast something is as the
/// first of its group. Right after a boot the machine has other work to do. The other end is a process of this machine, or with PEER another machine where bench --serve
/// runs; sockets, pipes and eventfds always end in a process of this machine. 512 KiB of the memory at --offset are
/// overwritten.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl bench
  ivshmemctl --json bench --time 1s
  ivshmemctl bench --serve
  ivshmemctl bench 1")]
pub struct Options {
    #[command(flatten)]
    device: DeviceName,

    /// The other machine, where bench --serve runs
    #[arg(value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_PEER)))]
    peer: Option<u32>,

    /// Be the other end, until ended by a signal
    #[arg(long, conflicts_with_all = ["peer", "time"])]
    serve: bool,

    /// Time for each measurement, at least
    #[arg(short, long, value_name = "TIME", default_value = "200ms", value_parser = parse::duration)]
    time: Duration,

    /// First byte of the memory that is used, a multiple of 4K; the same at both ends
    #[arg(short = 's', long, value_name = "OFFSET", default_value = "0", value_parser = parse::number)]
    offset: u64,

    /// Be the process that answers so many bytes by so many others
    #[arg(long, hide = true, value_name = "BYTES", num_args = 2)]
    echo: Option<Vec<usize>>,
}

/// What was measured.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Answer {
    node: String,
    size: u64,
    cache: String,
    processors: usize,
    /// The machine at the other end; none if that is a process of this one.
    peer: Option<u32>,
    rows: Vec<Row>,
}

/// Measures, or answers.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    if let Some(lengths) = &options.echo {
        return bytes::echo(lengths[0], lengths[1]);
    }
    let party = Party::open(&options.device, options.offset, options.serve)?;
    if options.serve {
        return rounds::serve(&party);
    }
    let mut report = Report::default();
    let info = party.link.info().clone();
    memory::measure(&mut report, &party, &info, options.time)?;
    if party.link.vectors() > 0 {
        bytes::doorbells(&mut report, &party, options.time);
        let partner = rounds::Partner::find(&party, options.peer)?;
        bytes::rounds(&mut report, options.time);
        partner.rounds(&mut report, options.time);
        bytes::stream(&mut report, options.time);
        partner.stream(&mut report, options.time);
    }
    let answer = Answer {
        node: party.link.device().path().display().to_string(),
        size: info.size,
        cache: info.cache.to_string(),
        processors: processors(),
        peer: options.peer,
        rows: report.0,
    };
    output.answer(&answer, || text(&answer, &info, output))?;
    Ok(Exit::Success)
}

fn text(answer: &Answer, info: &Info, output: Output) -> String {
    let partner = match answer.peer {
        Some(peer) => format!("peer {peer}"),
        None => "a process of this machine".into(),
    };
    let mut text = format!(
        "{}: {}, {}; vectors: {}; processors: {}; the other end is {partner}\n",
        answer.node,
        size(answer.size),
        answer.cache,
        info.vectors,
        answer.processors,
    );
    let mut last = "";
    let rows = answer.rows.iter().map(|row| {
        let group = if row.group == last { "" } else { row.group };
        last = row.group;
        let value = row.value.map(|value| match row.unit {
            Unit::MibPerSecond => format!("{value:.0} MiB/s"),
            Unit::Nanoseconds if value < 10_000.0 => format!("{value:.0} ns"),
            Unit::Nanoseconds => format!("{:.1} us", value / 1e3),
        });
        let speed = row.speed.map(|speed| format!("{speed:.2}"));
        vec![
            group.into(),
            row.what.into(),
            value.unwrap_or_else(|| "-".into()),
            speed.unwrap_or_else(|| row.note.clone()),
        ]
    });
    text += &output.table(&["GROUP", "WHAT", "MEASURED", "SPEED"], rows);
    text
}
