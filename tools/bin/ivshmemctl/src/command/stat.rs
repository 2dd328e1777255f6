// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl stat`: what the driver has counted.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::counters::Counters;
use crate::end::DeviceName;
use crate::exit::Exit;
use crate::output::Output;

/// Show what the driver has counted: interrupts, doorbells, wake-ups, open files
///
/// interrupts: those of each armed vector; doorbells: how many this guest rang; wake_ups: of threads that slept in the
/// driver; held_back: how often a vector was held back because peers rang without a pause. These count since the driver
/// was bound. opens, mappings and eventfds: how many there are now. Needs no permission to open the node.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl stat
  ivshmemctl --json stat | jq .doorbells")]
pub struct Options {
    #[command(flatten)]
    device: DeviceName,
}

/// Shows it.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let bound = options.device.bound()?;
    let counters = Counters::read(&bound.function.directory)?;
    let mut answer = counters.json();
    answer.insert("node".into(), json!(bound.node));
    answer.insert("bus_id".into(), json!(bound.function.bus_id));
    output.answer(&answer, || {
        let line = |name: &str, value: &str| format!("{name:<14} {value}\n");
        let counted = counters.0.iter();
        let counted = counted.map(|counter| line(counter.name, &counter.text()));
        let node = bound.node.display().to_string();
        [line("node", &node)].into_iter().chain(counted).collect()
    })?;
    Ok(Exit::Success)
}
