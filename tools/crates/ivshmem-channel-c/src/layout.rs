// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The shape of channels.

use std::ffi::c_int;
use std::time::Duration;

use crate::boundary::{free, guard, some};
use crate::error::Failure;

/// The shape of a channel: which programs can take part, and which ring buffers and topics there are. All programs have to
/// bring the same one. One thread at a time may use it.
pub struct Layout(pub(crate) ivshmem_channel::Layout);

/// A layout for `slots` programs, 2 to 64, without any ring buffers yet. They show that they live twice in a second, and count
/// as lost after 3 silent seconds. What is out of its range is found when a channel is made with it.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_layout_new(slots: u32) -> Box<Layout> {
    Box::new(Layout(ivshmem_channel::Layout::new(slots)))
}

/// The layout for ivshmem_channel_rpc_server_join(): the server has slot 0, and up to `clients`, 1 to 63, those from 1
/// on. `requests` and `replies` are the bytes of the ring buffers from and to each client, multiples of 64, up to 1 GiB; the
/// longest request and reply are 40 bytes shorter.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_layout_new_rpc(
    clients: u32,
    requests: u32,
    replies: u32,
) -> Box<Layout> {
    Box::new(Layout(ivshmem_channel::rpc::layout(
        clients, requests, replies,
    )))
}

/// Adds a ring buffer from slot `from` to slot `to`. `size` is in bytes, a multiple of 64, up to 1 GiB; the longest message has
/// 24 bytes less.
///
/// Returns 0; -EINVAL if `layout` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_layout_ring(
    layout: Option<&mut Layout>,
    from: u32,
    to: u32,
    size: u32,
) -> c_int {
    change(layout, |layout| layout.ring(from, to, size))
}

/// Adds a ring buffer to slot `to` from all others, each of which has `size` bytes of its own in it, as in
/// ivshmem_channel_layout_ring().
///
/// Returns 0; -EINVAL if `layout` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_layout_multi_ring(
    layout: Option<&mut Layout>,
    to: u32,
    size: u32,
) -> c_int {
    change(layout, |layout| layout.multi_ring(to, size))
}

/// Adds a topic, which slot `publisher` publishes and all others can read. `buffers`, 3 to 64: a reader has to copy a
/// value before so many others, less two, are published. `size`: bytes of the longest value, a multiple of 64, up to
/// 1 GiB. Topics have numbers, from 0 on, in the order in which they are added.
///
/// Returns 0; -EINVAL if `layout` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_layout_topic(
    layout: Option<&mut Layout>,
    publisher: u32,
    buffers: u32,
    size: u32,
) -> c_int {
    change(layout, |layout| layout.topic(publisher, buffers, size))
}

/// Sets how often programs show that they live, 10 to 60,000 milliseconds, and after how many silent ones they count as
/// lost, from twice that on, up to 3,600,000.
///
/// Returns 0; -EINVAL if `layout` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_layout_heartbeat(
    layout: Option<&mut Layout>,
    interval_ms: u32,
    lost_ms: u32,
) -> c_int {
    let time = |ms: u32| Duration::from_millis(ms.into());
    change(layout, |layout| {
        layout.heartbeat(time(interval_ms), time(lost_ms))
    })
}

/// How many bytes of the memory a channel of this layout takes; 0 if `layout` is null.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_layout_size(layout: Option<&Layout>) -> u64 {
    layout.map_or(0, |layout| layout.0.size())
}

/// Frees the layout, and nothing if it is null. Channels that were made with it do not need it.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_layout_free(layout: Option<Box<Layout>>) {
    free(layout);
}

/// What programs give where a layout is needed.
pub(crate) fn layout(layout: Option<&Layout>) -> Result<&ivshmem_channel::Layout, Failure> {
    Ok(&some(layout, "the layout")?.0)
}

fn change(
    layout: Option<&mut Layout>,
    with: impl FnOnce(ivshmem_channel::Layout) -> ivshmem_channel::Layout,
) -> c_int {
    guard(|| {
        let Layout(layout) = some(layout, "the layout")?;
        *layout = with(layout.clone());
        Ok(0)
    })
}
