// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A network through the memory.

use crate::row::{row, Group};

const NET: &str = "virtio-net";

const COPIES: &str = "An emulated processor does not take the same time for each instruction. For half of virtio-net's instructions \
    tunnel and forward take as much time of the host's processors or up to half as much again, 60 ms for a MiB. A fifth of that are the kernel's copies to \
    and from programs, four instead of two, which are emulated byte by byte, an eighth the copies into the ring and out of it, and a \
    fifteenth pages that the kernel clears. For virtio-net QEMU itself copies. Where the kernel reads and writes the ring, that \
    eighth is saved.";
const SWITCHES: &str = "On its way there and back a packet passes a program four times, and each time the address space is switched. \
    After that QEMU has forgotten its TLB and where translated code is, and looks for all of it anew: the tunnel takes 2.9 ms of \
    the host's processors for a round trip, virtio-net 1.4 ms, where none is switched. The floor is a network driver in the kernel.";

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
        row("tunnel, TCP, a MiB", "network.tunnel.time", "network.virtio_net.time", NET)
            .goal(0.667)
            .missed_because(COPIES),
        row("tunnel, UDP round trip", "network.tunnel.round_trip", "network.virtio_net.round_trip", NET)
            .goal(0.7)
            .missed_because(SWITCHES),
        row("tunnel, UDP round trip, tenth percentile", "network.tunnel.round_trip", "network.virtio_net.round_trip", NET).p10(),
        row("tunnel, TCP, busy", "network.tunnel.busy", "network.virtio_net.busy", NET).goal(0.7),
        row("forward, TCP, a MiB", "network.forward.time", "network.virtio_net.time", NET)
            .goal(0.5)
            .missed_because(COPIES),
        row("forward, TCP, busy", "network.forward.busy", "network.virtio_net.busy", NET),
    ],
};
