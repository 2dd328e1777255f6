// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What both endpoints know of the file: how far it is, its checksum, and what became of it.

use std::io::{self, Read};
use std::path::PathBuf;

use indicatif::{HumanBytes, ProgressBar};
use sha2::{Digest, Sha256};

use crate::output::{bytes, progress};

/// What arrived, or was sent.
pub struct Copied {
    pub path: PathBuf,
    pub size: u64,
    /// Where it began: not 0 if an earlier attempt had got so far.
    pub from: u64,
    pub sha256: String,
}

/// A bar on the standard error, if that is a terminal.
pub fn bar(size: u64) -> ProgressBar {
    progress(
        size,
        "{bar:40} {bytes} of {total_bytes}  {bytes_per_sec}  {eta}",
    )
}

/// A size as the bar writes it, and in bytes.
pub fn size(length: u64) -> String {
    match length < 1024 {
        true => bytes(length),
        false => format!("{} ({})", HumanBytes(length), bytes(length)),
    }
}

/// The SHA-256 of all that can be read, in hexadecimal, and how many bytes that are.
pub fn checksum(mut source: impl Read) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let size = io::copy(&mut source, &mut hash)?;
    let bytes = hash.finalize();
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    Ok((digits.collect(), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_in_bytes_once() {
        assert_eq!(size(3), "3 bytes");
        assert_eq!(size(1 << 20), "1.00 MiB (1048576 bytes)");
    }
}
