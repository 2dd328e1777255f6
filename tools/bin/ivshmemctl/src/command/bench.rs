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
use ivshmem::{Doorbell, Memory};
use serde::Serialize;

use crate::claim::Place;
use crate::end::{tell_served, End};
use crate::exit::Exit;
use crate::output::{size, Output};
use crate::parse;
use party::{Kind, Party};
use report::{Report, Row, Unit};
use timing::processors;

/// Benchmark the device against plain memory, sockets, pipes and eventfds
///
/// Everything is measured in the same run, and what counts are the ratios: how many times as fast something is as the
/// first of its group. Right after a boot the system has other work to do. The other endpoint is a process of this system,
/// or with PEER another guest, or the host, where bench --serve runs; sockets, pipes and eventfds always end in a process
/// of this system. 512 KiB of the memory are overwritten, without --offset the last ones but 4 KiB; if something else is
/// there, bench refuses.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl bench
  ivshmemctl --json bench --time 1
  ivshmemctl bench --serve
  ivshmemctl bench 1
  ivshmemctl bench --join /tmp/ivshmem.sock 1")]
pub struct Options {
    #[command(flatten)]
    end: End,

    /// The other endpoint, where bench --serve runs; on a host there has to be one
    #[arg(value_parser = parse::peer_id)]
    peer: Option<u32>,

    /// Be the other endpoint, until ended by a signal
    #[arg(long, conflicts_with_all = ["peer", "time"])]
    serve: bool,

    /// Time for each measurement, at least
    #[arg(short, long, value_name = "TIME", default_value = "0.2", value_parser = parse::duration)]
    time: Duration,

    #[command(flatten)]
    place: Place,

    /// Be the process that answers messages of one length by messages of another
    #[arg(long, hide = true, value_name = "BYTES", num_args = 2)]
    echo: Option<Vec<usize>>,
}

/// What was measured.
#[derive(Serialize)]
struct Answer {
    node: String,
    size: u64,
    cache: String,
    vectors: u32,
    processors: usize,
    /// The guest at the other endpoint; none if that is a process of this one.
    peer_id: Option<u32>,
    rows: Vec<Row>,
}

/// Measures, or answers.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    if let Some(lengths) = &options.echo {
        return bytes::echo(lengths[0], lengths[1]);
    }
    let party = Party::open(&options.end, &options.place, options.serve)?;
    if options.serve {
        tell_served(&party.link, "bench", output);
        return rounds::serve(&party);
    }
    let mut report = Report::new();
    if party.link.vectors() == 0 {
        memory::measure(&mut report, &party, options.time)?;
    } else {
        let partner = rounds::Partner::find(&party, options.peer)?;
        memory::measure(&mut report, &party, options.time)?;
        bytes::doorbells(&mut report, &party, options.time);
        bytes::rounds(&mut report, options.time);
        partner.rounds(&mut report, options.time);
        bytes::stream(&mut report, options.time);
        partner.stream(&mut report, options.time);
    }
    let (node, cache) = match &party.kind {
        Kind::Device(endpoint, _) => {
            let cache = endpoint.info().cache.to_string();
            (endpoint.device().path(), cache)
        }
        // As all memory of processes is.
        Kind::Host(socket) => (socket.as_path(), "write-back".into()),
    };
    let answer = Answer {
        node: node.display().to_string(),
        size: party.link.size(),
        cache,
        vectors: party.link.vectors(),
        processors: processors(),
        peer_id: options.peer,
        rows: report.into_rows(),
    };
    output.answer(&answer, || text(&answer, output))?;
    Ok(Exit::Success)
}

fn text(answer: &Answer, output: Output) -> String {
    let partner = match answer.peer_id {
        Some(peer) => format!("peer {peer}"),
        None => "a process of this system".into(),
    };
    let mut text = format!(
        "{}: {}, {}; vectors: {}; processors: {}\nthe other endpoint is {partner}\n",
        answer.node,
        size(answer.size),
        answer.cache,
        answer.vectors,
        answer.processors,
    );
    let mut notes: Vec<&str> = Vec::new();
    let mut last = "";
    let mut rows = Vec::new();
    for row in &answer.rows {
        let group = if row.group == last { "" } else { row.group };
        last = row.group;
        let speed = row.speed.map(|speed| format!("{speed:.2}"));
        rows.push(vec![
            group.into(),
            row.what.into(),
            measured(row).unwrap_or_else(|| "-".into()),
            speed.unwrap_or_else(|| format!("[{}]", number_of(&mut notes, &row.note))),
        ]);
    }
    text += &output.table(&["GROUP", "WHAT", "MEASURED", "SPEED"], rows);
    for (number, note) in notes.iter().enumerate() {
        text += &format!("[{}] {note}\n", number + 1);
    }
    text
}

fn measured(row: &Row) -> Option<String> {
    let value = row.value?;
    Some(match row.unit {
        Unit::MibPerSecond => format!("{value:.0} MiB/s"),
        Unit::Nanoseconds if value < 10_000.0 => format!("{value:.0} ns"),
        Unit::Nanoseconds => format!("{:.1} us", value / 1e3),
    })
}

/// The number of a footnote, which is added if it is not there.
fn number_of<'a>(notes: &mut Vec<&'a str>, note: &'a str) -> usize {
    let known = notes.iter().position(|known| *known == note);
    1 + known.unwrap_or_else(|| {
        notes.push(note);
        notes.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_footnotes_and_the_table_fits_a_terminal() {
        let reason = "refused while a driver has it; iomem=relaxed may allow it";
        let refused = || Err(anyhow::anyhow!(reason));
        let mut report = Report::new();
        for group in ["copy into", "copy out of", "messages of 1 KiB"] {
            report.add(group, "plain memory", Unit::MibPerSecond, Ok(12345.0));
            let sysfs = "the same by sysfs resource2";
            report.add(group, sysfs, Unit::MibPerSecond, refused());
        }
        let answer = Answer {
            node: "/dev/ivshmem0".into(),
            size: 64 << 20,
            cache: "write-back".into(),
            vectors: 8,
            processors: 2,
            peer_id: None,
            rows: report.into_rows(),
        };
        let text = text(&answer, Output::new(false));
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert_eq!(text.matches(reason).count(), 1, "{text}");
        assert!(text.ends_with(&format!("[1] {reason}\n")), "{text}");
        assert_eq!(text.matches(" [1]\n").count(), 3, "{text}");
    }
}
