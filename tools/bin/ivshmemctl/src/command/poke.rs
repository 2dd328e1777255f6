// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl poke`: writes numbers into the shared memory.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use clap::Args;
use ivshmem::{Access, Memory};
use serde_json::json;

use super::peek::Width;
use crate::end::End;
use crate::exit::{failure, Exit};
use crate::output::{bytes, Output};
use crate::parse;

/// Write numbers into the shared memory
///
/// Nobody is told: ring for that.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl poke 0x200000 42
  ivshmemctl poke 0x200004 --width 1 0x48 0x69")]
pub struct Options {
    #[command(flatten)]
    end: End,

    /// Byte at which to begin
    #[arg(value_parser = parse::number)]
    offset: u64,

    /// The numbers
    #[arg(required = true, value_parser = parse::number)]
    values: Vec<u64>,

    /// Bytes of a number: 1, 2, 4 or 8; those of 4 and 8 are written in one step, and have to be aligned
    #[arg(
        short,
        long,
        value_name = "BYTES",
        default_value = "4",
        hide_possible_values = true
    )]
    width: Width,
}

/// Writes.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let width = options.width.bytes();
    // All of them, before any has an effect.
    for value in &options.values {
        check(*value, width)?;
    }
    let memory = options.end.memory(Access::ReadWrite)?;
    for (number, value) in options.values.iter().enumerate() {
        let at = (number * width) as u64;
        write(
            &*memory,
            options.offset.saturating_add(at),
            *value,
            options.width,
        )?;
    }
    let count = options.values.len();
    let answer = json!({ "offset": options.offset, "width": width, "count": count });
    // Nothing to say to people: as cp and dd of one file.
    output.answer(&answer, String::new)?;
    Ok(Exit::Success)
}

fn check(value: u64, width: usize) -> Result<()> {
    match value.leading_zeros() as usize + 8 * width >= 64 {
        true => Ok(()),
        false => Err(failure(
            Exit::Usage,
            format!(
                "{value:#x} does not fit into {}: see --width",
                bytes(width as u64)
            ),
        )),
    }
}

fn write(memory: &dyn Memory, offset: u64, value: u64, width: Width) -> Result<()> {
    match width {
        Width::Four => {
            let value = u32::try_from(value).context("checked before")?;
            memory.store32(offset, value, Ordering::Release)?;
        }
        Width::Eight => memory.store64(offset, value, Ordering::Release)?,
        Width::One | Width::Two => memory.write(offset, &value.to_le_bytes()[..width.bytes()])?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_must_fit() {
        for (value, width, fits) in [
            (0xff, 1, true),
            (0x100, 1, false),
            (u64::from(u32::MAX), 4, true),
            (1 << 32, 4, false),
            (u64::MAX, 8, true),
        ] {
            assert_eq!(check(value, width).is_ok(), fits, "{value:#x} in {width}");
        }
    }
}
