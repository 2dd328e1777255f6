// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! From one guest to another and back.

use super::{row, Group};

const SERIAL: &str = "pair.virtio_serial";
const NET: &str = "pair.virtio_net";

/// By the wall clock: two guests have no common count of instructions.
pub static GROUP: Group = Group {
    name: "two guests",
    title: "From one guest to another and back",
    stage: "pair",
    method: "A message of 4 bytes and its answer, 2000 times, by the host's clock. virtio-serial is a port of each guest on one \
             socket, virtio-net UDP between two cards on one socket: both pass through the two QEMUs, as doorbells do \
             without KVM.",
    limits: "Two emulated machines on few processors: the host's scheduler is a large part of each number. With KVM and vhost \
             the rivals have a shorter way too.",
    rows: &[
        row("read", "pair.read", SERIAL, "virtio-serial"),
        row("read", "pair.read", NET, "virtio-net, UDP"),
        row("read, tenth percentile", "pair.read", SERIAL, "virtio-serial").p10(),
        row("read, tenth percentile", "pair.read", NET, "virtio-net, UDP").p10(),
        row("eventfd", "pair.eventfd", SERIAL, "virtio-serial"),
        row("poll, then read", "pair.poll_read", SERIAL, "virtio-serial"),
        row("WAIT_WORD", "pair.WAIT_WORD", SERIAL, "virtio-serial"),
        row("spinning on the memory", "pair.spin", SERIAL, "virtio-serial"),
    ],
};
