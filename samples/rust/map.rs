// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Shared memory is memory: map it, write to it in one guest, read it in another.
//!
//! ```text
//! map "hello from A"   in guest A
//! map                  in guest B prints: hello from A
//! ```
//!
//! The text stands at byte 4096, where it does not disturb the other samples.

use std::process::ExitCode;

use ivshmem::{Access, Memory};
use ivshmem_samples::run;

const TEXT_AT: u64 = 4096;
const TEXT_BYTES: usize = 4096;

fn main() -> ExitCode {
    run("map [-d DEVICE] [TEXT]", 1, |sample| {
        // Parts begin at multiples of the page size, which is not 4096 everywhere: so all up to the text.
        let len = TEXT_AT as usize + TEXT_BYTES;
        let memory = sample.device.map_part(0, len, Access::ReadWrite)?;
        let mut text = [0; TEXT_BYTES];
        if let Some(word) = sample.words.first() {
            let len = word.len().min(TEXT_BYTES - 1);
            text[..len].copy_from_slice(&word.as_bytes()[..len]);
            memory.write(TEXT_AT, &text)?;
            return Ok(());
        }
        // Others may write at any time: copy first, and look at the copy alone.
        memory.read(TEXT_AT, &mut text)?;
        let end = text.iter().position(|byte| *byte == 0);
        println!("{}", String::from_utf8_lossy(&text[..end.unwrap_or(0)]));
        Ok(())
    })
}
