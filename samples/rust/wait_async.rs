// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Doorbells, and words that change, in a program on tokio, next to whatever else it does.
//!
//! ```text
//! wait_async      rings this guest itself, and changes a word, to be tried alone
//! wait_async -w   waits for another guest to ring
//! ```

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use ivshmem::{Access, AsyncDevice, Error, Memory};
use ivshmem_samples::{run, Sample, OWN_RING};
use tokio::time::timeout;

/// Byte offset in the shared memory.
const WORD_AT: u64 = 8192;

fn main() -> ExitCode {
    run("wait_async [-d DEVICE] [-w]", 0, |sample| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        sample.expect_a_ring()?;
        runtime.block_on(wait(sample))
    })
}

async fn wait(sample: Sample) -> anyhow::Result<()> {
    let me = sample.peer_id()?;
    let limit = sample.limit();
    let memory = Arc::new(sample.device.map(Access::ReadWrite)?);
    let device = Arc::new(AsyncDevice::new(sample.device)?);
    let events = match limit {
        Some(limit) => timeout(limit, device.events()).await??,
        None => device.events().await?,
    };
    for event in events {
        println!("vector {}: count {}", event.vector, event.count);
    }
    if limit.is_some() {
        let before = memory.load32(WORD_AT, Ordering::Acquire)?;
        let change = change(Arc::clone(&device), Arc::clone(&memory), me);
        let change = tokio::spawn(change);
        timeout(OWN_RING, device.wait_word(&memory, WORD_AT, before)).await??;
        change.await??;
        println!("the word has changed");
    }
    Ok(())
}

/// What another guest would do: write first, ring afterwards.
async fn change(
    device: Arc<AsyncDevice>,
    memory: Arc<impl Memory>,
    peer: u32,
) -> Result<(), Error> {
    let value = memory.load32(WORD_AT, Ordering::Relaxed)?;
    memory.store32(WORD_AT, value.wrapping_add(1), Ordering::Release)?;
    device.device().ring(peer, 0)
}
