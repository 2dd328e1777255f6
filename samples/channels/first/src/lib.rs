// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the two programs have to agree on, and how both get to the memory.

use std::sync::Arc;

use ivshmem::{Endpoint, Link};
use ivshmem_channel::Layout;
use ivshmem_peer::Peer;

/// The slots of the two programs.
pub const SENDER: u32 = 0;
pub const RECEIVER: u32 = 1;

/// Two slots, and a ring buffer of 64 KiB from the sender to the receiver.
pub fn layout() -> Layout {
    Layout::new(2).ring(SENDER, RECEIVER, 64 << 10)
}

/// Opens a device, such as `/dev/ivshmem0` in a guest, or joins by the socket of a server, such as `/tmp/ivshmem.sock` on the
/// host.
pub fn open(path: &str) -> anyhow::Result<Arc<dyn Link + Send + Sync>> {
    Ok(match path.starts_with("/dev/") {
        true => Arc::new(Endpoint::open(path)?),
        false => Arc::new(Peer::join(path)?),
    })
}
