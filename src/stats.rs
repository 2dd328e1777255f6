// SPDX-License-Identifier: GPL-2.0

//! Counters for people, in `/sys/kernel/debug/ivshmemN/stats`; not part of the interface.

use kernel::{
    debugfs,
    fmt,
    prelude::*,
    sync::Arc, //
};

use crate::{
    abi::pci::MAX_VECTORS,
    device::Device, //
};

/// The directory of a device in debugfs; dropping it removes it.
pub(crate) struct Stats {
    _file: Pin<KBox<debugfs::File<Arc<Device>>>>,
    _dir: debugfs::Dir,
}

impl Stats {
    /// Makes the directory `name`. That debugfs is not there is no error.
    pub(crate) fn new(name: &CStr, device: Arc<Device>) -> Result<Self> {
        let dir = debugfs::Dir::new(name);
        let file = dir.read_callback_file(c"stats", device, &show);
        let file = KBox::pin_init(file, GFP_KERNEL)?;
        Ok(Self {
            _file: file,
            _dir: dir,
        })
    }
}

fn show(device: &Arc<Device>, to: &mut fmt::Formatter<'_>) -> fmt::Result {
    let events = device.events();
    write!(to, "interrupts:")?;
    for vector in 0..MAX_VECTORS {
        write!(to, " {}", events.seq(vector))?;
    }
    writeln!(to)?;
    writeln!(to, "doorbells: {}", device.doorbells())?;
    writeln!(to, "wake-ups: {}", events.queue().wake_ups())?;
    writeln!(to, "eventfds: {}", events.eventfds())?;
    writeln!(to, "opens: {}", device.window().opens())?;
    writeln!(to, "mappings: {}", device.window().mappings())
}
