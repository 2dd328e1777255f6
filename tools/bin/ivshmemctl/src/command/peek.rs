// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl peek`: reads numbers from the shared memory.

use std::sync::atomic::Ordering;

use anyhow::Result;
use clap::{Args, ValueEnum};
use ivshmem::{Access, Memory};
use serde_json::json;

use crate::end::End;
use crate::exit::Exit;
use crate::output::Output;
use crate::parse;

/// Read numbers from the shared memory
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl peek 0x200000
  ivshmemctl peek 0 --width 8 --count 4")]
pub struct Options {
    #[command(flatten)]
    end: End,

    /// Byte at which to begin
    #[arg(value_parser = parse::number)]
    offset: u64,

    /// Bytes of a number: 1, 2, 4 or 8; those of 4 and 8 are read in one step, and have to be aligned
    #[arg(
        short,
        long,
        value_name = "BYTES",
        default_value = "4",
        hide_possible_values = true
    )]
    width: Width,

    /// How many numbers
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    count: u64,
}

/// How wide a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Width {
    /// A byte.
    #[value(name = "1")]
    One,
    /// Two bytes.
    #[value(name = "2")]
    Two,
    /// Four bytes.
    #[value(name = "4")]
    Four,
    /// Eight bytes.
    #[value(name = "8")]
    Eight,
}

impl Width {
    /// In bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// Reads.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let memory = options.end.memory(Access::ReadOnly)?;
    let width = options.width.bytes();
    let mut values = Vec::new();
    for number in 0..options.count {
        // An offset that wraps is outside of any memory.
        let at = number.saturating_mul(width as u64);
        let at = options.offset.saturating_add(at);
        values.push((at, read(&*memory, at, options.width)?));
    }
    let numbers: Vec<u64> = values.iter().map(|(_, value)| *value).collect();
    let answer = json!({ "offset": options.offset, "width": width, "values": numbers });
    output.answer(&answer, || {
        let line = |(at, value): &(u64, u64)| {
            let digits = 2 + 2 * width;
            format!("{at:#010x}: {value:#0digits$x}\n")
        };
        values.iter().map(line).collect()
    })?;
    Ok(Exit::Success)
}

fn read(memory: &dyn Memory, offset: u64, width: Width) -> Result<u64> {
    Ok(match width {
        Width::Four => memory.load32(offset, Ordering::Acquire)?.into(),
        Width::Eight => memory.load64(offset, Ordering::Acquire)?,
        Width::One | Width::Two => {
            let mut bytes = [0; 2];
            memory.read(offset, &mut bytes[..width.bytes()])?;
            u16::from_le_bytes(bytes).into()
        }
    })
}
