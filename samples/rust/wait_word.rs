// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Sleep until a word of the shared memory changes, like a futex between guests: a change and its doorbell cannot
//! fall between the look at the word and the sleep.
//!
//! ```text
//! wait_word        a thread makes the change, to be tried alone
//! wait_word -w     waits for another guest, where you run: wait_word PEER
//! wait_word PEER   changes the word and rings that peer
//! ```
//!
//! The one who changes the word writes first and rings afterwards.

use std::process::ExitCode;
use std::sync::atomic::Ordering;

use ivshmem::{Access, Memory, MAX_PEER};
use ivshmem_samples::{run, Sample};

/// Byte offset in the shared memory.
const WORD_AT: u64 = 8192;

fn change_and_ring(sample: &Sample, memory: &impl Memory, peer: u32) -> anyhow::Result<()> {
    let value = memory.load32(WORD_AT, Ordering::Relaxed)?;
    memory.store32(WORD_AT, value.wrapping_add(1), Ordering::Release)?;
    Ok(sample.device.ring(peer, 0)?)
}

fn main() -> ExitCode {
    run("wait_word [-d DEVICE] [-w] [PEER]", 1, |sample| {
        let me = sample.peer_id()?;
        let memory = sample.device.map(Access::ReadWrite)?;
        if let Some(peer) = sample.number(0, MAX_PEER)? {
            return change_and_ring(&sample, &memory, peer);
        }
        // What the word is now; sleep only while it stays like that.
        let before = memory.load32(WORD_AT, Ordering::Acquire)?;
        if sample.wait {
            println!("this is peer {me}, waiting while the word is {before}");
        }
        std::thread::scope(|scope| {
            let other =
                (!sample.wait).then(|| scope.spawn(|| change_and_ring(&sample, &memory, me)));
            if !sample.device.wait_word(WORD_AT, before, sample.limit())? {
                anyhow::bail!("the word has not changed");
            }
            other.map_or(Ok(()), |other| other.join().expect("it does not panic"))
        })?;
        let now = memory.load32(WORD_AT, Ordering::Acquire)?;
        println!("the word was {before} and is {now} now");
        Ok(())
    })
}
