// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What an interrupt leaves behind for programs: records for `read` and the event page.

use core::mem::{
    offset_of,
    size_of, //
};

use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

use super::pci::MAX_VECTORS;

/// One record of `read`: vector `vector` was rung at least `count` times since this file looked
/// last.
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

/// What the event page begins with; the rest of the page is 0.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct EventPage {
    /// Not 0 once the device is gone.
    pub dead: u32,
    /// See `Info::generation`.
    pub generation: u32,
    /// Always 0: the counts begin on a cache line of their own.
    pub reserved: [u8; 56],
    /// Interrupts of each vector since the driver bound.
    pub seq: [u64; MAX_VECTORS],
}

/// Byte offset of `seq[v]` in the event page: `u64` each.
pub const EVENT_PAGE_SEQ: usize = offset_of!(EventPage, seq);

/// Byte offset of `dead` in the event page, `u32`: not 0 once the device is gone.
pub const EVENT_PAGE_DEAD: usize = offset_of!(EventPage, dead);

/// Byte offset of `generation` in the event page, `u32`: see `Info::generation`.
pub const EVENT_PAGE_GENERATION: usize = offset_of!(EventPage, generation);

const _: () = {
    assert!(size_of::<Event>() == 16);
    assert!(size_of::<EventPage>() == 576);
    assert!(EVENT_PAGE_SEQ % 64 == 0);
};
