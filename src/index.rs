// SPDX-License-Identifier: GPL-2.0

//! The N of `/dev/ivshmemN`: the lowest free number, given back on drop.

use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    }, //
};

/// Bit n is set while number n is taken.
static TAKEN: Atomic<u64> = Atomic::new(0);

/// A number below 64 that no other device has.
///
/// # Invariants
///
/// Its bit in [`TAKEN`] is set, and was set for this object.
pub(crate) struct Index(u32);

impl Index {
    /// Takes the lowest free number; `ENOSPC` if there are 64 devices already.
    pub(crate) fn take() -> Result<Self> {
        let mut taken = TAKEN.load(Relaxed);
        loop {
            let free = taken.trailing_ones();
            let bit = 1u64.checked_shl(free).ok_or(ENOSPC)?;
            match TAKEN.cmpxchg(taken, taken | bit, Full) {
                // INVARIANT: The bit was clear and is set now.
                Ok(_) => return Ok(Self(free)),
                Err(now) => taken = now,
            }
        }
    }

    /// The number.
    pub(crate) fn get(&self) -> u32 {
        self.0
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // The bit is set, so that subtracting it clears it and nothing else.
        TAKEN.fetch_sub(1u64 << self.0, Full);
    }
}
