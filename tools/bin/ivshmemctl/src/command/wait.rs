// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl wait`: sleeps until it is rung.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use ivshmem::{Doorbell, Link};
use ivshmem_peer::Peer;
use serde_json::json;

use crate::end::{join, settle, AnyLink, End};
use crate::exit::{failure, Exit};
use crate::output::Output;
use crate::parse;

/// Sleep until this endpoint is rung, and say on which vectors
///
/// Rings from before the command do not count. Several rings of a vector may be one interrupt.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl wait
  ivshmemctl wait --vectors 0,3 --timeout 5
  ivshmemctl wait --count 0
  ivshmemctl wait --word 0x100=0")]
pub struct Options {
    #[command(flatten)]
    end: End,

    /// Wait only for these vectors
    #[arg(short, long, value_name = "VECTORS", value_delimiter = ',', value_parser = parse::vector_bit)]
    vectors: Vec<u64>,

    /// Give up after this time, with exit code 5
    #[arg(short, long, value_name = "TIME", value_parser = parse::duration)]
    timeout: Option<Duration>,

    /// Exit after N wake-ups; 0 goes on for ever
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    count: u64,

    /// Sleep while the aligned 32-bit word at OFFSET is VALUE, and say what it is then
    ///
    /// Whoever changes it has to ring this endpoint.
    #[arg(
        short,
        long,
        value_name = "OFFSET=VALUE",
        value_parser = parse::word,
        conflicts_with_all = ["vectors", "count"]
    )]
    word: Option<(u64, u32)>,
}

/// Sleeps.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let mask = options.vectors.iter().fold(0, |mask, bit| mask | bit);
    let link: AnyLink = match options.end.socket() {
        Some(socket) => Arc::new(joined(&socket, mask)?),
        None => {
            let link = options.end.link()?;
            check_armed(mask, link.vectors(), "device")?;
            link
        }
    };
    match options.word {
        Some((offset, value)) => wait_word(&*link, offset, value, options.timeout, output),
        None => wait(&*link, mask, options, output),
    }
}

/// A peer that can be rung on these vectors. A server gives them one by one.
fn joined(socket: &Path, mask: u64) -> Result<Peer> {
    let peer = join(socket)?;
    if check_armed(mask, peer.vectors(), "peer").is_err() {
        settle(&peer);
        check_armed(mask, peer.vectors(), "peer")?;
    }
    Ok(peer)
}

fn wait(link: &dyn Link, mask: u64, options: &Options, output: Output) -> Result<Exit> {
    let begin = Instant::now();
    let mut woken = 0;
    while options.count == 0 || woken < options.count {
        let left = options
            .timeout
            .map(|limit| limit.saturating_sub(begin.elapsed()));
        let pending = link.wait(mask, left)?;
        if pending == 0 {
            return Err(nobody(options.timeout));
        }
        woken += 1;
        let vectors: Vec<u32> = (0..64).filter(|v| pending >> v & 1 != 0).collect();
        let names: Vec<_> = vectors.iter().map(u32::to_string).collect();
        output.answer(&json!({ "vectors": vectors }), || {
            format!("rung on {}", names.join(", "))
        })?;
    }
    Ok(Exit::Success)
}

fn wait_word(
    link: &dyn Link,
    offset: u64,
    value: u32,
    timeout: Option<Duration>,
    output: Output,
) -> Result<Exit> {
    if !link.wait_word(offset, value, timeout)? {
        return Err(nobody(timeout));
    }
    let now = link.load32(offset, Ordering::Acquire)?;
    output.answer(&json!({ "offset": offset, "value": now }), || {
        format!("{now:#x}")
    })?;
    Ok(Exit::Success)
}

fn nobody(timeout: Option<Duration>) -> anyhow::Error {
    let limit = humantime::format_duration(timeout.unwrap_or_default());
    failure(Exit::TimedOut, format!("nobody rang within {limit}"))
}

/// The driver refuses the whole mask without saying which bit; a device without a doorbell gets its own
/// message.
fn check_armed(mask: u64, armed: u32, end: &str) -> Result<()> {
    let highest = 63u32.saturating_sub(mask.leading_zeros());
    if mask != 0 && armed != 0 && highest >= armed {
        let message = format!(
            "vector {highest} is not armed: this {end} has the vectors 0 to {}",
            armed - 1
        );
        return Err(failure(Exit::Unable, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_beyond_the_armed_ones_are_named() {
        assert!(check_armed(0, 1, "device").is_ok());
        assert!(check_armed(0b1000, 4, "device").is_ok());
        let error = check_armed(0b10001, 4, "device").unwrap_err().to_string();
        assert!(error.starts_with("vector 4 is not armed"), "{error}");
        assert!(
            check_armed(1, 0, "device").is_ok(),
            "the device says it has no doorbell"
        );
    }
}
