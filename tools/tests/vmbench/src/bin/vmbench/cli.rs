// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use vmbench::{Firmware, DEFAULT_MEMORY_MIB};

/// Exit codes that are not the command's.
pub mod exit {
    /// A kernel log shows that something is wrong, and `--check-kernel` was given.
    pub const SPLAT: u8 = 123;
    /// A command went silent, or a guest did not answer.
    pub const TIME_OUT: u8 = 124;
    /// A guest's kernel panicked.
    pub const PANIC: u8 = 125;
    /// The guests could not be set up, the command could not be started, or QEMU failed.
    pub const SETUP: u8 = 126;
    /// Added to the number of the signal that ended the command.
    pub const SIGNAL: u8 = 128;
}

const AFTER_HELP: &str = "\
Each guest runs COMMAND with its number, counted from 0, in GUEST_ID and the number of guests in GUESTS. \
The guests are called vm0, vm1 and so on. With several guests each line of output begins with the guest's name.

Exit code: the first guest's that is not 0:
  0..   the command's own
  123   --check-kernel found a report in the kernel's log
  124   the command wrote nothing for --time-limit, or the guest did not answer
  125   the guest's kernel panicked
  126   the guests could not be set up, COMMAND could not be started, or QEMU failed
  128+N the command was ended by signal N

Environment:
  KERNEL           which of the sandbox's kernels
  VMBENCH_QEMU     command that starts QEMU, with first arguments, instead of the sandbox's
  VMBENCH_KERNEL   kernel image instead of the sandbox's
  VMBENCH_BUSYBOX  static busybox instead of the sandbox's
  VMBENCH_AGENT    static vmbench-agent instead of one built by cargo
  IVSHMEM_SERVER   ivshmem-server instead of one built by cargo
  IVSHMEM_TIME_SCALE  what time limits are multiplied with, in the guests too
  NO_COLOR         if not empty, no colours

Examples:
  vmbench -- uname -a
  vmbench --guests 2 --vectors 8 --insmod ivshmem_rs.ko -- ls -l /dev/
  vmbench --guests 2 --file ./prog:/bin/prog -- sh -c 'prog --part $GUEST_ID'

GUEST_ID is no peer ID: guests get those in the order in which they connect.";

/// Boots virtual machines that share memory, runs a command in each, and leaves nothing behind.
#[derive(Debug, Parser)]
#[command(name = "vmbench", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// How many guests to boot at once
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub guests: u32,

    /// An ivshmem device for each guest; may be given several times [default: doorbell]
    #[arg(long = "device", value_enum, value_name = "KIND")]
    pub devices: Vec<Kind>,

    /// Interrupt vectors of the doorbell devices
    #[arg(long, default_value_t = 8, value_name = "V", value_parser = clap::value_parser!(u16).range(1..))]
    pub vectors: u16,

    /// Size of the shared memory, a power of two; K, M and G may follow the number
    #[arg(long, default_value = "64M", value_parser = size, value_name = "SIZE")]
    pub size: u64,

    /// RAM of each guest in MiB
    #[arg(long, default_value_t = DEFAULT_MEMORY_MIB, value_name = "MIB")]
    pub memory: u32,

    /// Virtual processors of each guest
    #[arg(long, default_value_t = 1, value_name = "C", value_parser = clap::value_parser!(u32).range(1..))]
    pub cpus: u32,

    /// Kernel image instead of the sandbox's
    #[arg(long, value_name = "PATH")]
    pub kernel: Option<PathBuf>,

    /// Add to the kernel's command line
    #[arg(long, value_name = "PARAMETERS")]
    pub append: Vec<String>,

    /// Firmware: seabios, ovmf, or the path of an image
    #[arg(long, default_value = "seabios", value_name = "NAME")]
    pub firmware: String,

    /// Use KVM instead of emulation
    #[arg(long)]
    pub kvm: bool,

    /// Put a host file into the guests
    #[arg(long = "file", value_parser = file, value_name = "HOST:GUEST")]
    pub files: Vec<(PathBuf, String)>,

    /// Insert a kernel module (.ko or .ko.xz) after boot
    #[arg(long = "insmod", value_name = "PATH")]
    pub modules: Vec<PathBuf>,

    /// Add an argument to QEMU's command line
    #[arg(long = "qemu-arg", allow_hyphen_values = true, value_name = "ARG")]
    pub qemu_args: Vec<String>,

    /// How long COMMAND may run without writing anything; s (the default), m or h may follow the number
    #[arg(long, default_value = "10m", value_parser = time, value_name = "TIME")]
    pub time_limit: Duration,

    /// Fail if a guest's kernel log holds a warning, a BUG or the like
    #[arg(long)]
    pub check_kernel: bool,

    /// Write each guest's console to DIR/NAME.log
    #[arg(long, value_name = "DIR")]
    pub keep_log: Option<PathBuf>,

    /// Print one JSON object at the end instead of the output as it comes
    #[arg(long)]
    pub json: bool,

    /// Program in the guest and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// A kind of ivshmem device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Memory and interrupts; all guests share one region
    Doorbell,
    /// Memory only; all guests share it
    Plain,
    /// No device
    None,
}

impl Cli {
    /// The devices of each guest.
    pub fn kinds(&self) -> Vec<Kind> {
        match self.devices.as_slice() {
            [] => vec![Kind::Doorbell],
            devices => devices.to_vec(),
        }
    }

    /// The firmware of each guest.
    pub fn firmware(&self) -> Firmware {
        match self.firmware.as_str() {
            "seabios" => Firmware::SeaBios,
            "ovmf" => Firmware::Ovmf,
            path => Firmware::File(path.into()),
        }
    }
}

fn size(text: &str) -> Result<u64, String> {
    let units = [("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30)];
    let size = number_with_unit(text, &units)?;
    if size.is_power_of_two() {
        Ok(size)
    } else {
        Err("not a power of two".into())
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    number_with_unit(text, &units).map(Duration::from_secs)
}

fn file(text: &str) -> Result<(PathBuf, String), String> {
    let (host, guest) = text.rsplit_once(':').ok_or("give HOST:GUEST")?;
    if guest.starts_with('/') {
        Ok((host.into(), guest.into()))
    } else {
        Err("the path in the guest must be absolute".into())
    }
}

fn number_with_unit(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let found = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (digits, factor) = found.unwrap_or((text, 1));
    let number: u64 = digits.parse().map_err(|error| format!("{error}"))?;
    number.checked_mul(factor).ok_or("too large".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_and_times_have_units() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("16M"), Ok(16 << 20));
        assert!(size("3M").is_err() && size("0").is_err() && size("1T").is_err());
        assert!(size("999999999999G").is_err());
        assert_eq!(time("90"), Ok(Duration::from_secs(90)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert!(time("soon").is_err());
        let cli = Cli::parse_from(["vmbench", "--", "true"]);
        assert_eq!(cli.time_limit, vmbench::DEFAULT_LIMIT);
    }

    #[test]
    fn a_file_goes_to_an_absolute_path() {
        let pair = (PathBuf::from("a:b"), "/c".to_string());
        assert_eq!(file("a:b:/c"), Ok(pair));
        assert!(file("a:b").is_err() && file("a").is_err());
    }
}
