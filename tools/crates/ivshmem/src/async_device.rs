// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Events for programs that run on tokio.

use std::sync::atomic::Ordering;

use tokio::io::unix::AsyncFd;
use tokio::io::Interest;

use crate::{Device, Error, Event, Memory, Result};

/// A device whose events are futures.
///
/// All of them may be dropped at any time: no event is lost by that. Tasks that share it share its events.
///
/// ```no_run
/// # async fn example() -> Result<(), ivshmem::Error> {
/// use ivshmem::{AsyncDevice, Device};
///
/// let device = AsyncDevice::new(Device::open("/dev/ivshmem0")?)?;
/// for event in device.events().await? {
///     println!("vector {} was rung", event.vector);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct AsyncDevice(AsyncFd<Device>);

impl AsyncDevice {
    /// Hands a device to the runtime, and makes it [non-blocking](Device::set_nonblocking).
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio, or if that was built without `enable_io`.
    pub fn new(device: Device) -> Result<Self> {
        device.set_nonblocking(true)?;
        // The successor is unsafe, for descriptors that are closed or exchanged behind its back: a device's is not.
        #[allow(deprecated)]
        let fd = AsyncFd::with_interest(device, Interest::READABLE);
        fd.map(Self)
            .map_err(|error| Error::io(error, "cannot watch the device"))
    }

    /// The device, for all that does not wait.
    pub fn device(&self) -> &Device {
        self.0.get_ref()
    }

    /// Waits until something is pending and takes it: one [`Event`] for each pending vector, lowest first.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`], [`Error::NoDoorbell`], [`Error::Io`].
    pub async fn events(&self) -> Result<Vec<Event>> {
        loop {
            let ready = self.0.readable().await;
            let mut ready = ready.map_err(|error| Error::io(error, "cannot watch the device"))?;
            match self.device().read_events() {
                Err(Error::WouldBlock) => ready.clear_ready(),
                Err(Error::Interrupted) => {}
                other => return other,
            }
        }
    }

    /// Waits while the aligned 32-bit word at byte `offset` of `memory`, which is this device's, is `value`.
    /// Whoever changes it has to ring this end, on any vector. Takes all events meanwhile.
    ///
    /// # Errors
    ///
    /// As [`events`](Self::events), and [`Error::Access`].
    pub async fn wait_word(&self, memory: &impl Memory, offset: u64, value: u32) -> Result<()> {
        // A ring that comes after the look is still pending when the events are asked for.
        while memory.load32(offset, Ordering::Acquire)? == value {
            self.events().await?;
        }
        Ok(())
    }
}
