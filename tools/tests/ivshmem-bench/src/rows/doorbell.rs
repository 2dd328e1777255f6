// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a ring costs.

use super::{row, Group};

const PWRITE: &str = "doorbell.vfio_pwrite";
const RING: &str = "doorbell.RING";
const PAGE: &str = "doorbell.register_page";

/// Ringing a peer that is not there, which costs the machine the same as one that is.
pub static GROUP: Group = Group {
    name: "doorbell",
    title: "Ringing a doorbell",
    stage: "low",
    method: "Sixteen calls between two readings of the time stamp counter, 101 times; the loop is subtracted.",
    limits: "What the emulator or the hypervisor does with the register write is not counted. With KVM it is most of \
             the cost, and the same for all.",
    rows: &[
        row("RING", RING, PWRITE, "vfio-pci, pwrite to BAR0").goal(0.72),
        row("RING_MANY of 64, each ring", "doorbell.RING_MANY_64", RING, "RING").per(64.0).goal(0.10),
        row("RING_MANY of 1", "doorbell.RING_MANY_1", RING, "RING").goal(1.1),
        row("RING_MANY of 8, each ring", "doorbell.RING_MANY_8", RING, "RING").per(8.0),
        row("RING_MANY of 1024, each ring", "doorbell.RING_MANY_1024", RING, "RING").per(1024.0),
        row("register page", PAGE, "doorbell.vfio_mmap", "vfio-pci, mapped BAR0").goal(1.1),
        row("register page", PAGE, "doorbell.sysfs_mmap", "sysfs resource0, mapped"),
        row("RING", RING, "doorbell.vfio_mmap", "vfio-pci, mapped BAR0"),
        row("RING", RING, "doorbell.floor_empty_ioctl", "an ioctl that does nothing"),
        row("RING", RING, "doorbell.floor_eventfd_write", "write to an eventfd"),
    ],
};
