// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What instructions cannot say, by the host's clock.

use super::{row, Group};

/// A device that rings itself.
pub static RINGS: Group = Group {
    name: "ringing oneself",
    title: "From a ring to its event, by time",
    stage: "wall",
    method: "A device rings itself, 1000 times, in a guest of four processors; whoever rang takes the event. Most of it is \
             the way through QEMU's main loop.",
    limits: "Noisy: the medians of a busy host differ by a third from run to run.",
    rows: &[
        row("RING, then read", "selfring.RING_read", "selfring.vfio_pwrite_eventfd", "vfio-pci, pwrite, eventfd"),
        row("RING, then read, tenth percentile", "selfring.RING_read", "selfring.vfio_pwrite_eventfd", "vfio-pci, pwrite, eventfd").p10(),
        row("RING, then WAIT", "selfring.RING_WAIT", "selfring.vfio_pwrite_eventfd", "vfio-pci, pwrite, eventfd"),
        row("RING, event page", "selfring.RING_event_page", "selfring.vfio_pwrite_eventfd", "vfio-pci, pwrite, eventfd"),
        row("register page, event page", "selfring.register_page_event_page", "selfring.vfio_mmap_eventfd", "vfio-pci, mapped BAR0, eventfd"),
        row("the call RING", "doorbell.RING", "doorbell.vfio_pwrite", "vfio-pci, pwrite to BAR0"),
        row("the store to the register page", "doorbell.register_page", "doorbell.vfio_mmap", "vfio-pci, mapped BAR0"),
    ],
};

/// Copies.
pub static COPIES: Group = Group {
    name: "copies",
    title: "Copying, by time",
    stage: "wall",
    method: "memcpy() from memory of the program's own to other such memory, into the mapped memory, and out of it.",
    limits: "An emulated CPU has no caches and no memory types: only with KVM does this say more than that the mapping is \
             mapped.",
    rows: &[
        row("4 KiB into", "copies.into_4096", "copies.own_4096", "own to own"),
        row("4 KiB out of", "copies.out_of_4096", "copies.own_4096", "own to own"),
        row("64 KiB into", "copies.into_65536", "copies.own_65536", "own to own"),
        row("64 KiB out of", "copies.out_of_65536", "copies.own_65536", "own to own"),
        row("1 MiB into", "copies.into_1048576", "copies.own_1048576", "own to own"),
        row("1 MiB out of", "copies.out_of_1048576", "copies.own_1048576", "own to own"),
    ],
};
