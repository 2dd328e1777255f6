// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl ring`: rings a peer's doorbell.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use ivshmem::MAX_RING_VECTOR;
use serde_json::json;

use crate::end::{End, Rang};
use crate::exit::{failure, Exit};
use crate::output::Output;
use crate::parse;

/// Ring a peer's doorbell
///
/// In a guest it is not an error if there is no such peer or vector: the device does not tell, and "confirmed" in JSON is
/// false. Rings that follow each other fast may reach the peer as one.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl ring 1
  ivshmemctl ring 1 3 --count 10 --interval 0.1")]
pub struct Options {
    #[command(flatten)]
    end: End,

    /// ID of the peer to ring; one's own is in `ivshmemctl info`
    #[arg(value_parser = parse::peer_id)]
    peer: u32,

    /// Which of its vectors
    #[arg(default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_RING_VECTOR)))]
    vector: u32,

    /// How many times
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    count: u64,

    /// Time between two rings
    #[arg(short, long, value_name = "TIME", default_value = "0", value_parser = parse::duration)]
    interval: Duration,
}

/// Rings.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let ring = options.end.bell()?;
    let Options {
        peer,
        vector,
        count,
        ..
    } = options;
    let mut confirmed = true;
    for number in 0..*count {
        if number > 0 {
            sleep(options.interval);
        }
        let missing = match ring(*peer, *vector)? {
            Rang::Sent => continue,
            Rang::Unconfirmed => {
                confirmed = false;
                continue;
            }
            Rang::NoVector => format!("peer {peer} has no vector {vector}"),
            Rang::NoPeer => format!("there is no peer {peer}"),
        };
        let text = format!("{missing}: `ivshmemctl peers SOCKET` shows who is there");
        return Err(failure(Exit::Unable, text));
    }
    let answer =
        json!({ "peer_id": peer, "vector": vector, "count": count, "confirmed": confirmed });
    output.answer(&answer, || {
        let times = match count {
            1 => String::new(),
            _ => format!(" {count} times"),
        };
        match confirmed {
            true => format!("rang vector {vector} of peer {peer}{times}"),
            false => format!(
                "sent to vector {vector} of peer {peer}{times}; the device does not tell whether that is there"
            ),
        }
    })?;
    Ok(Exit::Success)
}
