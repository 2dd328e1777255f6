// SPDX-License-Identifier: GPL-2.0

//! In place of `dma_buf.rs` where the kernel has no dma-bufs: none can be made.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use super::window::Window;

/// The dma-bufs of a window's memory: none.
pub(crate) struct Exports {
    window: Arc<Window>,
}

impl Exports {
    pub(crate) fn new(window: Arc<Window>) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { window }, GFP_KERNEL)?)
    }

    /// The window whose memory it is.
    pub(crate) fn window(&self) -> &Arc<Window> {
        &self.window
    }

    /// `EOPNOTSUPP`.
    pub(crate) fn create(
        self: &Arc<Self>,
        _start: u64,
        _size: u64,
        _writable: bool,
        _close_on_exec: bool,
    ) -> Result<i32> {
        Err(EOPNOTSUPP)
    }

    pub(crate) fn pause(&self) {}

    pub(crate) fn resume(&self) {}

    pub(crate) fn close(&self) {}
}
