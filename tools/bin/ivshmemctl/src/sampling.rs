// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How often commands look that go on looking.

use std::time::Duration;

use clap::Args;

use crate::parse;

/// Their options.
#[derive(Args, Debug)]
pub struct Sampling {
    /// Sampling interval
    #[arg(short, long, value_name = "TIME", default_value = "1", value_parser = parse::interval)]
    pub interval: Duration,

    /// Exit after N samples
    #[arg(short, long, value_name = "N")]
    pub count: Option<u64>,
}
