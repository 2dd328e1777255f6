// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What channels cost on the host, beside what else moves bytes there.
//!
//! ```text
//! cargo run --release -p channel-bench
//! ```
//!
//! Times scatter with the machine's load and its clock; what is compared is measured in turns, several times, and the
//! best of each counts. Two processors are needed.

mod pin;
mod rounds;
mod stream;

use std::time::Duration;

use anyhow::Result;
use clap::Parser;

/// Measures rings and round trips, and prints a table of ratios.
#[derive(Parser)]
struct Arguments {
    /// Turns; of each row the best one counts.
    #[arg(long, default_value_t = 8)]
    turns: u32,
    /// Answers round trips; started by the program itself.
    #[arg(long, hide = true)]
    serve: Option<std::path::PathBuf>,
    /// Microseconds that the answerer works for.
    #[arg(long, hide = true, default_value_t = 0)]
    works: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(socket) = arguments.serve {
        return rounds::serve(&socket, Duration::from_micros(arguments.works));
    }
    stream::run(arguments.turns)?;
    rounds::run(arguments.turns)
}
