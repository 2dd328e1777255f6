// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What an interrupt leaves behind for programs: records for `read` and the event page.

use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

use super::pci::MAX_VECTORS;

/// One record of `read`: vector `vector` was rung at least `count` times since this file looked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Event {
    /// The vector, below [`MAX_VECTORS`].
    pub vector: u32,
    /// Always 0.
    pub reserved: u32,
    /// Interrupts since this file looked last; several rings may be one interrupt.
    pub count: u64,
}

/// Size of the event page in bytes: one page of x86 and of most arm64 kernels.
pub const EVENT_PAGE_SIZE: usize = 4096;

/// Byte offset of `seq[v]` in the event page: `u64` each.
pub const EVENT_PAGE_SEQ: usize = 0;

/// Byte offset of `dead` in the event page, `u32`: not 0 once the device is gone.
pub const EVENT_PAGE_DEAD: usize = EVENT_PAGE_SEQ + MAX_VECTORS * 8;

/// Byte offset of `generation` in the event page, `u32`: see `Info::generation`.
pub const EVENT_PAGE_GENERATION: usize = EVENT_PAGE_DEAD + 4;
