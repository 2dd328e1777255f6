// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The page by which a spinning program sees interrupts without a system call.

use std::sync::atomic::Ordering;

use ivshmem_abi::events::{EVENT_PAGE_DEAD, EVENT_PAGE_GENERATION, EVENT_PAGE_SEQ};
use ivshmem_abi::pci::MAX_VECTORS;

use crate::{Mapping, Memory};

/// A mapped event page. It stays readable when the device is gone.
#[derive(Debug)]
pub struct EventPage(Mapping);

impl EventPage {
    /// `mapping` is of the whole page.
    pub(crate) fn new(mapping: Mapping) -> Self {
        Self(mapping)
    }

    /// Interrupts of `vector` since the driver bound; `None` if `vector` is not below
    /// [`MAX_VECTORS`]. What the peer wrote before it rang is visible to the caller.
    pub fn interrupts(&self, vector: u32) -> Option<u64> {
        let vector = usize::try_from(vector).ok().filter(|v| *v < MAX_VECTORS)?;
        let at = EVENT_PAGE_SEQ + vector * size_of::<u64>();
        Some(whole(self.0.load64(at as u64, Ordering::Acquire)))
    }

    /// Whether the device is gone. No interrupt is counted after that.
    pub fn is_dead(&self) -> bool {
        whole(self.0.load32(EVENT_PAGE_DEAD as u64, Ordering::Acquire)) != 0
    }

    /// Goes up by one at each resume.
    pub fn generation(&self) -> u32 {
        let at = EVENT_PAGE_GENERATION as u64;
        whole(self.0.load32(at, Ordering::Acquire))
    }
}

fn whole<T>(result: Result<T, crate::AccessError>) -> T {
    result.expect("all fields are inside of the page")
}
