// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the numbers of a configuration can be.

use std::ops::RangeInclusive;

use ivshmem_protocol::MAX_PEER_ID;

/// Most vectors that a client can have. The register would hold more, but QEMU looks at 8 bits
/// only when it handles the doorbell itself.
pub const MAX_VECTORS: u16 = 256;

/// Vectors of a client.
pub(crate) const VECTORS: RangeInclusive<u16> = 1..=MAX_VECTORS;

/// Clients of a region that can be connected at the same time.
pub(crate) const MAX_PEERS: RangeInclusive<u32> = 1..=MAX_PEER_ID as u32 + 1;

/// Messages that can be in the socket of a client that has not read them. The kernel does not let a socket
/// have room for fewer; more would not make a client faster that reads.
pub(crate) const IN_FLIGHT: RangeInclusive<usize> = 6..=64;

/// Descriptors that a QEMU needs for everything else than the eventfds of an ivshmem device.
pub(crate) const CLIENT_OWN_DESCRIPTORS: u32 = 124;

/// How many times as many clients as there can be a user can have join at once. What is more has to wait.
pub(crate) const JOIN_BURST: u32 = 4;
