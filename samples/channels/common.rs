// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the samples of channels share: opening either kind of link, and joining.

use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;

use anyhow::Context;
use ivshmem::{AnyEndpoint, Endpoint, Link, SharedFile};
use ivshmem_channel::{Channel, Error, Layout};
use ivshmem_peer::Peer;

/// A way to the shared memory, in a guest or on the host.
pub type AnyLink = Arc<dyn Link + Send + Sync>;

/// Opens `path`: a device such as `/dev/ivshmem0` in a guest, the socket of a server on the host, or a file that is shared
/// memory. Or the PCI address of a device, such as `0000:00:04.0`, in a guest without the driver.
///
/// # Errors
///
/// Those of [`Endpoint::open`], [`Peer::join`], [`SharedFile::open`] and [`AnyEndpoint::open`].
pub fn open(path: &str) -> anyhow::Result<AnyLink> {
    if path.contains(':') && !path.contains('/') {
        return Ok(Arc::new(AnyEndpoint::open(path)?));
    }
    let kind = std::fs::metadata(path).with_context(|| format!("cannot open {path}"))?;
    let kind = kind.file_type();
    Ok(if kind.is_socket() {
        Arc::new(Peer::join(path)?)
    } else if kind.is_file() {
        Arc::new(SharedFile::open(path)?)
    } else {
        Arc::new(Endpoint::open(path)?)
    })
}

/// Finds the channel at the start of the memory, or makes it, and joins by `join`.
///
/// # Errors
///
/// Those of [`Channel::create_or_join`].
pub fn enter<T>(
    link: &AnyLink,
    layout: &Layout,
    join: impl Fn(&Channel<AnyLink>) -> Result<T, Error>,
) -> anyhow::Result<T> {
    Ok(Channel::create_or_join(Arc::clone(link), 0, layout, join)?)
}
