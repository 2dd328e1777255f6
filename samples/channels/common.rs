// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the samples of channels share: opening either kind of link, and joining.

use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;

use ivshmem::{Endpoint, Link};
use ivshmem_channel::{Channel, Error, Layout};
use ivshmem_peer::Peer;

/// A way to the shared memory, in a machine or on the host.
pub type AnyLink = Arc<dyn Link + Send + Sync>;

/// Opens `path`: a device such as `/dev/ivshmem0` in a machine, or the socket of a server on the host.
///
/// # Errors
///
/// Those of [`Endpoint::open`] and [`Peer::join`].
pub fn open(path: &str) -> anyhow::Result<AnyLink> {
    let is_socket = std::fs::metadata(path).is_ok_and(|file| file.file_type().is_socket());
    Ok(match is_socket {
        true => Arc::new(Peer::join(path)?),
        false => Arc::new(Endpoint::open(path)?),
    })
}

/// Finds the channel at the start of the memory, or makes it, and joins by `join`; again if another program made it at
/// the same time.
///
/// # Errors
///
/// Those of [`Channel::open_or_create`] and of `join`.
pub fn enter<T>(
    link: &AnyLink,
    layout: &Layout,
    join: impl Fn(&Channel<AnyLink>) -> Result<T, Error>,
) -> anyhow::Result<T> {
    loop {
        let channel = Channel::open_or_create(Arc::clone(link), 0, layout)?;
        match join(&channel) {
            Err(Error::Reset) => continue,
            joined => return Ok(joined?),
        }
    }
}
