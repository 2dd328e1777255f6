// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What an interrupt costs the CPU.

use crate::row::{count, row, Group};

const NOBODY: &str = "handler.nobody";
const VFIO: &str = "handler.vfio";

const LIST: &str = "Any number of files can bind eventfds to a vector, and unbind them at any time. So the handler takes the \
    lock of their list (26 instructions), signals those that were bound before its interrupt, and looks for sleepers. vfio-pci \
    has one pointer, which does not change while the interrupt is requested. Without the lock the ratio would be 1.13, and \
    closing a file would have to wait for a grace period of RCU.";

/// From before the interrupt to after it.
pub static GROUP: Group = Group {
    name: "handler",
    title: "The interrupt handler",
    stage: "low",
    method: "From when the interrupt is let through to when the interrupted thread goes on; whoever is woken waits. \
             \"Woken for nothing\" counts how often the sleepers were switched to and from.",
    limits: "vfio-pci binds one eventfd to a vector, so it has no row with many.",
    rows: &[
        row("nobody", NOBODY, VFIO, "vfio-pci, 1 eventfd").goal(1.05),
        row("1 eventfd", "handler.eventfds_same_vector_1", VFIO, "vfio-pci, 1 eventfd").goal(1.10).missed_because(LIST),
        row("1 eventfd on another vector", "handler.eventfds_other_vector_1", NOBODY, "nobody"),
        row("8 eventfds on another vector", "handler.eventfds_other_vector_8", NOBODY, "nobody"),
        row("64 eventfds on another vector", "handler.eventfds_other_vector_64", NOBODY, "nobody"),
        row("256 eventfds on another vector", "handler.eventfds_other_vector_256", NOBODY, "nobody").goal(1.02),
        row("1 asleep in read on another vector", "handler.asleep_read_1", NOBODY, "nobody"),
        row("64 asleep in read on another vector", "handler.asleep_read_64", NOBODY, "nobody"),
        row("256 asleep in read on another vector", "handler.asleep_read_256", NOBODY, "nobody").goal(1.02),
        row("1 asleep in WAIT on another vector", "handler.asleep_WAIT_1", NOBODY, "nobody"),
        row("64 asleep in WAIT on another vector", "handler.asleep_WAIT_64", NOBODY, "nobody"),
        row("256 asleep in WAIT on another vector", "handler.asleep_WAIT_256", NOBODY, "nobody").goal(1.02),
        row("1 asleep in poll on another vector", "handler.asleep_poll_1", NOBODY, "nobody"),
        row("64 asleep in poll on another vector", "handler.asleep_poll_64", NOBODY, "nobody"),
        row("256 asleep in poll on another vector", "handler.asleep_poll_256", NOBODY, "nobody").goal(1.02),
        row("1 file on another vector in one epoll", "handler.epoll_1", NOBODY, "nobody"),
        row("64 files on another vector in one epoll", "handler.epoll_64", NOBODY, "nobody"),
        row("256 files on another vector in one epoll", "handler.epoll_256", NOBODY, "nobody").goal(1.02),
        row("8 eventfds", "handler.eventfds_same_vector_8", VFIO, "vfio-pci, 1 eventfd"),
        row("64 eventfds", "handler.eventfds_same_vector_64", VFIO, "vfio-pci, 1 eventfd"),
        row("256 eventfds", "handler.eventfds_same_vector_256", VFIO, "vfio-pci, 1 eventfd"),
        row("vfio-pci, 256 asleep on another vector", "handler.asleep_vfio_256", VFIO, "vfio-pci, 1 eventfd"),
        row("until 256 in read on another vector sleep again", "handler.until_asleep_read_256", "handler.until_asleep_vfio_256", "the same of vfio-pci"),
        row("until 256 in WAIT on another vector sleep again", "handler.until_asleep_WAIT_256", "handler.until_asleep_vfio_256", "the same of vfio-pci"),
        row("until 256 in poll on another vector sleep again", "handler.until_asleep_poll_256", "handler.until_asleep_vfio_256", "the same of vfio-pci"),
        count("woken for nothing by an interrupt, of 256 in read", "handler.woken_for_nothing_read_256").goal(0.0),
        count("woken for nothing by an interrupt, of 256 in WAIT", "handler.woken_for_nothing_WAIT_256").goal(0.0),
        count("woken for nothing by an interrupt, of 256 in poll", "handler.woken_for_nothing_poll_256").goal(0.0),
    ],
};
