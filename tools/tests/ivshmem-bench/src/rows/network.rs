// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A network through the memory.

use crate::row::{row, Group};

const NET: &str = "virtio-net";

/// By the wall clock, and by how long the machines are busy.
pub static GROUP: Group = Group {
    name: "network",
    title: "TCP and UDP between two guests, through the memory",
    stage: "network",
    method: "A MiB of TCP, of five connections with 16 MiB each, and UDP messages of 4 bytes and their answers, 2000 times, by the \
             host's clock. \"Busy\" is how long both guests together were not idle for a MiB, with -icount shift=1 without KVM: \
             2 ns are an instruction. The rival is a card of virtio-net in each guest on one UNIX socket (-netdev stream), with \
             its usual MTU of 1500.",
    limits: "QEMU's work for virtio-net is in no row of \"busy\". Two emulated machines on few processors: the host's scheduler is a large \
             part of the times. With KVM, vhost and a tap device virtio-net has offloads and a shorter way.",
    rows: &[
        row("tunnel, TCP, a MiB", "network.tunnel.time", "network.virtio_net.time", NET).goal(0.667),
        row("tunnel, UDP round trip", "network.tunnel.round_trip", "network.virtio_net.round_trip", NET).goal(0.7),
        row("tunnel, UDP round trip, tenth percentile", "network.tunnel.round_trip", "network.virtio_net.round_trip", NET).p10(),
        row("tunnel, TCP, busy", "network.tunnel.busy", "network.virtio_net.busy", NET).goal(0.7),
        row("forward, TCP, a MiB", "network.forward.time", "network.virtio_net.time", NET).goal(0.5),
        row("forward, TCP, busy", "network.forward.busy", "network.virtio_net.busy", NET),
    ],
};
