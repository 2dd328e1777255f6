// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What every sample does: read the command line, open the device, and say what to do when something fails. What
//! a sample shows is in the sample itself.

use std::process::ExitCode;
use std::time::Duration;

use ivshmem::{Device, Error};

/// How long this guest's own ring may take.
pub const OWN_RING: Duration = Duration::from_secs(10);

/// Exit status: it cannot be tried here, by kselftest's convention.
const SKIP: u8 = 4;
/// Exit status: wrong usage.
const USAGE: u8 = 2;

/// An open device, and what the command line says.
pub struct Sample {
    /// The device.
    pub device: Device,
    /// `-w`: wait for another guest, do not ring ourselves.
    pub wait: bool,
    /// What follows the options.
    pub words: Vec<String>,
}

impl Sample {
    /// The number in word `n`, from 0 to `most`; `None` if there is no such word.
    ///
    /// # Errors
    ///
    /// It is another number, or none.
    pub fn number(&self, n: usize, most: u32) -> anyhow::Result<Option<u32>> {
        let Some(word) = self.words.get(n) else {
            return Ok(None);
        };
        let number = word.parse().ok().filter(|number| *number <= most);
        let wrong = || anyhow::anyhow!("'{word}' is not a number from 0 to {most}");
        Ok(Some(number.ok_or_else(wrong)?))
    }

    /// Our peer ID.
    ///
    /// # Errors
    ///
    /// [`Error::NoDoorbell`] if we cannot be rung by it; [`Error::Gone`].
    pub fn peer_id(&self) -> Result<u32, Error> {
        match self.device.info()? {
            info if info.vectors > 0 => Ok(info.peer_id),
            _ => Err(Error::NoDoorbell),
        }
    }

    /// Says who can be rung if another guest is to do it, else rings vector 0 ourselves.
    ///
    /// # Errors
    ///
    /// As [`peer_id`](Self::peer_id).
    pub fn expect_a_ring(&self) -> Result<(), Error> {
        let peer = self.peer_id()?;
        if !self.wait {
            return self.device.ring(peer, 0);
        }
        println!("this is peer {peer}, waiting");
        Ok(())
    }

    /// How long to wait for that ring; `None` is for ever.
    pub fn limit(&self) -> Option<Duration> {
        (!self.wait).then_some(OWN_RING)
    }
}

/// Runs a sample. `usage` begins with its name; at most `words` words may follow the options, and `-w` is one if
/// `usage` has it.
pub fn run(usage: &str, words: usize, body: impl FnOnce(Sample) -> anyhow::Result<()>) -> ExitCode {
    let help = format!("usage: {usage}\n  -d DEVICE  the device; /dev/ivshmem0 if not given");
    let Some((path, wait, rest)) = options(usage, words) else {
        eprintln!("{help}");
        return ExitCode::from(USAGE);
    };
    if rest.iter().any(|word| word == "-h") {
        println!("{help}");
        return ExitCode::SUCCESS;
    }
    let sample = Device::open(path).map(|device| Sample {
        device,
        wait,
        words: rest,
    });
    let result = sample.map_err(anyhow::Error::from).and_then(body);
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    eprintln!("{error:#}");
    match error.downcast_ref() {
        Some(Error::NoNode(_) | Error::NoDoorbell) => ExitCode::from(SKIP),
        _ => ExitCode::FAILURE,
    }
}

/// The device, whether to wait, and the words; `-h` is one of them. `None` if they are wrong.
fn options(usage: &str, words: usize) -> Option<(String, bool, Vec<String>)> {
    let mut arguments = std::env::args().skip(1);
    let (mut path, mut wait, mut rest) = (String::from("/dev/ivshmem0"), false, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-d" => path = arguments.next()?,
            "-w" if usage.contains("[-w]") => wait = true,
            "-h" => return Some((path, wait, vec![argument])),
            option if option.starts_with('-') => return None,
            _ => rest.push(argument),
        }
    }
    (rest.len() <= words).then_some((path, wait, rest))
}
