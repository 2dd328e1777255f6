// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl list`: the devices of this system.

use anyhow::Result;
use clap::Args;
use ivshmem::{Device, Function, Info, Mode, Sysfs};
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{size, subsystem, Output};

/// List the ivshmem devices of this system, with and without a driver
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl list
  ivshmemctl --json list | jq -r '.[].node'")]
pub struct Options {}

/// A line of the list. What only the driver knows is absent where the node cannot be opened.
#[derive(Serialize)]
struct Line {
    node: Option<String>,
    bus_id: String,
    driver: Option<String>,
    size: u64,
    subsystem: String,
    peer_id: Option<u32>,
    vectors: Option<u32>,
    cache: Option<String>,
}

/// Lists them.
pub fn run(_: &Options, output: Output) -> Result<Exit> {
    let lines: Vec<_> = Sysfs::default().functions().iter().map(line).collect();
    output.answer(&lines, || text(&lines, output))?;
    Ok(Exit::Success)
}

fn line(function: &Function) -> Line {
    let node = function.node();
    let info = node.as_ref().and_then(|node| {
        let device = Device::open_with(node, Mode::ReadOnly);
        device.and_then(|device| device.info()).ok()
    });
    let known = |what: fn(&Info) -> u32| info.as_ref().map(what);
    Line {
        node: node.map(|path| path.display().to_string()),
        bus_id: function.bus_id.clone(),
        driver: function.driver.clone(),
        size: function.size,
        subsystem: subsystem(function.subsystem.0, function.subsystem.1),
        peer_id: known(|info| info.peer_id),
        vectors: known(|info| info.vectors),
        cache: info.as_ref().map(|info| info.cache.to_string()),
    }
}

fn text(lines: &[Line], output: Output) -> String {
    if lines.is_empty() {
        return "no ivshmem device (1af4:1110) in this system; `ivshmemctl doctor` says what to do"
            .into();
    }
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let rows = lines.iter().map(|line| {
        vec![
            or_dash(line.node.clone()),
            line.bus_id.clone(),
            or_dash(line.driver.clone()),
            size(line.size),
            or_dash(line.peer_id.map(|id| id.to_string())),
            or_dash(line.vectors.map(|vectors| vectors.to_string())),
            or_dash(line.cache.clone()),
        ]
    });
    let header = [
        "NODE", "PCI", "DRIVER", "MEMORY", "PEER", "VECTORS", "CACHE",
    ];
    output.table(&header, rows)
}
