// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Measures the driver beside what a user would take instead of it.
#[derive(Debug, Parser)]
#[command(name = "ivshmem-bench", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Measure, print the report, and write it as JSON
    Measure(Measure),
    /// Count the instructions of the hot paths, and fail if one has grown by more than 3 %
    Check {
        /// Write what is counted as the new baseline instead
        #[arg(long)]
        update: bool,
    },
    /// Print a report again
    Show {
        /// The report
        json: PathBuf,
    },
    /// Write the documentation's page, pictures and data
    Document {
        /// The report
        json: PathBuf,
    },
}

/// What executes the guests' instructions.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Accel {
    /// QEMU's emulation: instructions are counted
    Tcg,
    /// KVM: time is measured
    Kvm,
}

impl From<Accel> for vmbench::Accel {
    fn from(accel: Accel) -> Self {
        match accel {
            Accel::Tcg => Self::Tcg,
            Accel::Kvm => Self::Kvm,
        }
    }
}

/// Options of `measure`.
#[derive(Args, Debug)]
pub struct Measure {
    /// What executes the guests' instructions
    #[arg(long, default_value = "tcg")]
    pub accel: Accel,
    /// How often each program runs
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeats: u32,
    /// Where to write the report
    #[arg(long)]
    pub json: PathBuf,
    /// Run only these stages
    #[arg(long = "stage", value_name = "NAME")]
    pub stages: Vec<String>,
}
