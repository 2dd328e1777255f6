// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the other calls cost.

use crate::row::{row, Group};

const OPEN: &str = "calls.open_close";

const OPENING: &str = "A file has three allocations: its state, the counts that it has seen, and its entries in the vectors' \
    queues. With their release they are 1,000 instructions, and filling in the entries of eight vectors 280. Without the \
    entries the ratio would be 1.5; but then they would have to be allocated by the first poll(), which cannot fail.";

/// Opening, asking, looking, mapping.
pub static GROUP: Group = Group {
    name: "calls",
    title: "Other calls",
    stage: "low",
    method: "As ringing a doorbell. Calls that take an event are measured one by one, each after an interrupt.",
    limits: "",
    rows: &[
        row("open and close", OPEN, "calls.open_close_misc", "a misc device that does nothing").goal(1.15).missed_because(OPENING),
        row("open and close, 256 eventfds bound by others", "calls.open_close_256_bound", "calls.open_close_misc", "a misc device that does nothing").goal(1.2).missed_because(OPENING),
        row("open and close", OPEN, "calls.open_close_null", "/dev/null"),
        row("GET_INFO", "calls.GET_INFO", "calls.vfio_GET_INFO", "vfio-pci's"),
        row("GET_INFO", "calls.GET_INFO", "calls.floor_empty_ioctl", "an ioctl that does nothing"),
        row("SUBSCRIBE", "calls.SUBSCRIBE", "calls.floor_empty_ioctl", "an ioctl that does nothing"),
        row("poll, ready", "calls.poll_ready", "calls.eventfd_poll_ready", "eventfd"),
        row("poll, not ready", "calls.poll_not_ready", "calls.eventfd_poll_not_ready", "eventfd"),
        row("read, ready", "calls.read_ready", "calls.eventfd_read_ready", "eventfd"),
        row("read, not ready", "calls.read_not_ready", "calls.eventfd_read_not_ready", "eventfd"),
        row("WAIT, ready", "calls.WAIT_ready", "calls.eventfd_read_ready", "eventfd"),
        row("WAIT, not ready, limit 0", "calls.WAIT_not_ready", "calls.eventfd_read_not_ready", "eventfd"),
        row("WAIT_WORD, the word differs", "calls.WAIT_WORD_ready", "calls.floor_empty_ioctl", "an ioctl that does nothing"),
        row("map and unmap a page", "calls.map_page", "calls.vfio_map_page", "vfio-pci, BAR2"),
        row("map and unmap a page", "calls.map_page", "calls.memfd_map_page", "memfd"),
        row("map, touch, unmap a page", "calls.map_touch_page", "calls.vfio_map_touch_page", "vfio-pci, BAR2"),
        row("map, touch, unmap a page", "calls.map_touch_page", "calls.memfd_map_touch_page", "memfd"),
        row("map, touch, unmap the event page", "calls.map_touch_event_page", "calls.memfd_map_touch_page", "memfd"),
    ],
};
