// SPDX-License-Identifier: GPL-2.0

//! State of an open `/dev/ivshmemN`: what it has seen, and waiting for what comes.

use kernel::{
    fs,
    prelude::*,
    sync::Arc, //
};

use crate::{
    cursor::{
        Among,
        Cursor,
        Taken, //
    },
    device::Device,
    kapi::wait::Limit, //
};

/// State of an open file; forked and duplicated descriptors share it.
#[pin_data]
pub(crate) struct File {
    device: Arc<Device>,
    #[pin]
    cursor: Cursor,
}

impl File {
    /// State of a file that is being opened; `ENODEV` once the device is gone. May sleep.
    pub(crate) fn new(device: &Arc<Device>, file: &fs::File) -> Result<Pin<KBox<Self>>> {
        let this = KBox::pin_init(
            pin_init!(Self {
                cursor <- Cursor::new(device.next_file(), device.events(), device.armed()),
                device: device.clone(),
            }),
            GFP_KERNEL,
        )?;
        device.attach(file)?;
        Ok(this)
    }

    /// The device, which may be gone.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// What this file has seen.
    pub(crate) fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Events for `read`, at most `room`: waits for them unless `nonblocking`. Process context.
    ///
    /// `EAGAIN` if it may not wait, `EOPNOTSUPP` if none can come, `ENODEV` once the device is gone and
    /// none is pending, `ERESTARTSYS` for a signal.
    pub(crate) fn next_events(&self, room: usize, nonblocking: bool) -> Result<Taken> {
        let events = self.device.events();
        let ready = || {
            // In this order: what came before the end is delivered before the end is reported.
            let dead = events.is_dead();
            let taken = self.cursor.take(events, Among::Subscribed, room);
            if !taken.records().is_empty() {
                return Some(Ok(taken));
            }
            dead.then_some(Err(ENODEV))
        };
        if let Some(result) = ready() {
            return result;
        }
        self.device.check_doorbell()?;
        if nonblocking {
            return Err(EAGAIN);
        }
        events.queue().wait(Limit::Never, ready)?
    }
}
