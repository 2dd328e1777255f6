// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl watch`: what the driver counts, over time.

use std::thread::sleep;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use serde_json::{json, Value};

use crate::counters::{Counters, Kind};
use crate::end::DeviceName;
use crate::exit::Exit;
use crate::output::Output;
use crate::sampling::Sampling;

/// Lines on a terminal after which the header comes again: less than the smallest screen.
const PAGE: u64 = 20;

/// Print what the driver counts, a line for each interval
///
/// The counters of `stat`: those that only go up as rates per second, the others as they are. Interrupts are those
/// of all vectors; `monitor` tells them apart. Needs no permission to open the node.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl watch
  ivshmemctl watch --interval 0.5 --count 10
  ivshmemctl --json watch --count 1 | jq .doorbells_per_second")]
pub struct Options {
    #[command(flatten)]
    device: DeviceName,

    #[command(flatten)]
    sampling: Sampling,
}

/// What was counted between two looks.
struct Line {
    /// Seconds since the first look.
    seconds: f64,
    /// Seconds since the one before.
    interval: f64,
    before: Counters,
    now: Counters,
}

/// Prints until told to end, or the device goes away.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let directory = options.device.bound()?.function.directory;
    let begin = Instant::now();
    let mut last = begin;
    let mut before = Counters::read(&directory)?;
    let mut lines = 0;
    while options.sampling.count.is_none_or(|count| lines < count) {
        sleep(options.sampling.interval);
        let (at, now) = (Instant::now(), Counters::read(&directory)?);
        let line = Line {
            seconds: (at - begin).as_secs_f64(),
            interval: (at - last).as_secs_f64(),
            before,
            now,
        };
        let again = lines == 0 || output.is_terminal() && lines % PAGE == 0;
        output.answer(&line.json(), || line.text(again))?;
        (last, before) = (at, line.now);
        lines += 1;
    }
    Ok(Exit::Success)
}

impl Line {
    /// The columns: a title and a value, which a second has for what only goes up.
    fn columns(&self) -> impl Iterator<Item = (&'static str, Kind, f64)> + '_ {
        self.now.0.iter().map(|counter| {
            let same = |other: &&crate::counters::Counter| other.name == counter.name;
            let before = self.before.0.iter().find(same);
            let sum = counter.sum();
            let value = match counter.kind {
                Kind::Present => sum as f64,
                Kind::Total => {
                    // Bound again meanwhile, a driver begins with 0.
                    let new = before.and_then(|before| sum.checked_sub(before.sum()));
                    // CAST: Exact up to 2^53 in an interval.
                    new.unwrap_or(sum) as f64 / self.interval.max(f64::MIN_POSITIVE)
                }
            };
            (counter.name, counter.kind, value)
        })
    }

    fn json(&self) -> Value {
        let mut answer = self.now.json();
        answer.insert("seconds".into(), json!(self.seconds));
        let rates = self.columns().filter(|(_, kind, _)| *kind == Kind::Total);
        answer.extend(rates.map(|(name, _, rate)| (format!("{name}_per_second"), json!(rate))));
        Value::Object(answer)
    }

    fn text(&self, header: bool) -> String {
        let (mut titles, mut values) = (format!("{:>8}", "SECONDS"), String::new());
        values += &format!("{:8.1}", self.seconds);
        for (name, kind, value) in self.columns() {
            let unit = if kind == Kind::Total { "/s" } else { "" };
            let title = format!("{}{unit}", name.to_uppercase());
            values += &format!("  {value:>width$.0}", width = title.len());
            titles += &format!("  {title}");
        }
        match header {
            true => format!("{titles}\n{values}"),
            false => values,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn counters(interrupts: &str, opens: u32) -> Counters {
        let device = tempfile::tempdir().unwrap();
        let directory = device.path().join("ivshmem_statistics");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("interrupts"), interrupts).unwrap();
        fs::write(directory.join("opens"), opens.to_string()).unwrap();
        Counters::read(device.path()).unwrap()
    }

    fn line(before: &str, now: &str) -> Line {
        Line {
            seconds: 4.0,
            interval: 2.0,
            before: counters(before, 9),
            now: counters(now, 3),
        }
    }

    #[test]
    fn what_goes_up_is_a_rate_and_the_rest_is_as_it_is() {
        let line = line("10 5", "30 5");
        let text = " SECONDS  INTERRUPTS/s  OPENS\n     4.0            10      3";
        assert_eq!(line.text(true), text);
        assert_eq!(line.text(false), text.lines().nth(1).unwrap());
        let answer = line.json();
        assert_eq!(answer["interrupts"], json!([30, 5]));
        assert_eq!(answer["interrupts_per_second"], 10.0);
        assert_eq!(answer["opens"], 3);
        assert_eq!(answer.get("opens_per_second"), None);
    }

    #[test]
    fn a_driver_that_was_bound_again_begins_anew() {
        assert_eq!(line("10 5", "4 0").json()["interrupts_per_second"], 2.0);
    }
}
