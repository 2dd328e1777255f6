// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a sender in a lane tells the receiver of all.

use std::sync::atomic::Ordering;

use ivshmem::Memory;

use super::{shared, update, Fault, Lane, Was, AWAKE, DOZING};

/// Says that a lane has messages. Returns whether its receiver has to be rung. Comes after a full barrier after the
/// message was published.
#[inline]
pub(super) fn announce(memory: &impl Memory, lane: Lane) -> Result<bool, Fault> {
    let (at, bit) = (lane.shared + shared::READY, 1u64 << lane.number);
    let was = update(memory, at, |ready| {
        Ok((ready & bit == 0).then_some(ready | bit))
    });
    match was? {
        Was::Replaced(_) => wake(memory, lane),
        // Whoever takes the bit looks at the lane after that, and does not sleep before.
        Was::Kept(_) => Ok(false),
        // Another sender does not keep to the rules, and is no reason to stay here.
        Was::Busy(_) => Ok(true),
    }
}

/// Returns whether the receiver sleeps, and is to be rung by this sender.
#[inline]
fn wake(memory: &impl Memory, lane: Lane) -> Result<bool, Fault> {
    // Either the receiver finds the bit before it sleeps, or we find that it does: see `MultiConsumer::arm`.
    memory.fence_after_exchange();
    let doze = lane.shared + shared::DOZE;
    if memory.load32(doze, Ordering::Relaxed)? != DOZING {
        return Ok(false);
    }
    // Of all who find it so, one rings.
    Ok(memory.compare_exchange32(doze, DOZING, AWAKE)?.is_ok())
}
