// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What channels cost on the host, beside what else moves bytes there. Prints series as the guests' programs of ivshmem-bench do,
//! which makes a table of them:
//!
//! ```text
//! cargo run --release -p ivshmem-bench -- measure --stage channels --json FILE
//! ```
//!
//! Times scatter with the machine's load and its clock; what is compared is measured in turns. Two processors are needed, and
//! strace.

mod bare;
mod kernel;
mod lanes;
mod pin;
mod plain;
mod rounds;
mod series;
mod stream;
mod system_calls;

use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};

/// Measures messages and round trips, and prints series.
#[derive(Parser)]
struct Arguments {
    /// How often each is measured
    #[arg(default_value_t = 16)]
    turns: u32,
    /// Measure nothing else
    #[arg(long)]
    only: Option<Part>,
    /// Answers round trips; started by the program itself
    #[arg(long, hide = true)]
    serve: Option<std::path::PathBuf>,
    /// Microseconds that the answerer works for
    #[arg(long, hide = true, default_value_t = 0)]
    works: u64,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    Stream,
    Rounds,
    Lanes,
    SystemCalls,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(socket) = arguments.serve {
        return rounds::serve(&socket, Duration::from_micros(arguments.works));
    }
    println!("ticks_per_second 1000000000");
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    if wanted(Part::Stream) {
        stream::run(arguments.turns)?;
    }
    if wanted(Part::Rounds) {
        rounds::run(arguments.turns)?;
    }
    if wanted(Part::Lanes) {
        lanes::run(arguments.turns)?;
    }
    if wanted(Part::SystemCalls) {
        system_calls::run()?;
    }
    Ok(())
}
