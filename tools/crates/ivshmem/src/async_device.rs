// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Events for programs that run on tokio.

use std::future::{poll_fn, Future};
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::Poll;

use tokio::io::unix::AsyncFd;
use tokio::io::Interest;
use tokio::sync::Notify;

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
pub struct AsyncDevice(Watched<Device>);

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
        Watched::new(device).map(Self)
    }

    /// The device, for all that does not wait.
    pub fn device(&self) -> &Device {
        self.0.fd.get_ref()
    }

    /// Waits until something is pending and takes it: one [`Event`] for each pending vector, lowest first.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`], [`Error::NoDoorbell`], [`Error::Io`].
    pub async fn events(&self) -> Result<Vec<Event>> {
        self.0.take(Device::read_events).await
    }

    /// Waits while the aligned 32-bit word at byte `offset` of `memory`, which is this device's, is `value`.
    /// Whoever changes it has to ring this end, on any vector. Takes all events meanwhile.
    ///
    /// # Errors
    ///
    /// As [`events`](Self::events), and [`Error::Access`].
    pub async fn wait_word(&self, memory: &impl Memory, offset: u64, value: u32) -> Result<()> {
        let differs = || Ok(memory.load32(offset, Ordering::Acquire)? != value);
        self.0.take_until(Device::read_events, differs).await
    }
}

/// A descriptor from which several tasks may take what is pending.
#[derive(Debug)]
struct Watched<F: AsRawFd> {
    fd: AsyncFd<F>,
    /// Told each time that something was taken.
    taken: Notify,
}

impl<F: AsRawFd> Watched<F> {
    fn new(fd: F) -> Result<Self> {
        // The successor is unsafe, for descriptors that are closed or exchanged behind its back: a device's is not.
        #[allow(deprecated)]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE);
        Ok(Self {
            fd: fd.map_err(|error| Error::io(error, "cannot watch the device"))?,
            taken: Notify::new(),
        })
    }

    /// Waits until `read` takes something.
    async fn take<T>(&self, read: impl Fn(&F) -> Result<T>) -> Result<T> {
        loop {
            let ready = self.fd.readable().await;
            let mut ready = ready.map_err(|error| Error::io(error, "cannot watch the device"))?;
            match read(self.fd.get_ref()) {
                Err(Error::WouldBlock) => ready.clear_ready(),
                Err(Error::Interrupted) => {}
                other => {
                    self.taken.notify_waiters();
                    return other;
                }
            }
        }
    }

    /// Takes what is pending until `done`.
    async fn take_until<T>(
        &self,
        read: impl Fn(&F) -> Result<T>,
        done: impl Fn() -> Result<bool>,
    ) -> Result<()> {
        loop {
            let mut taken = pin!(self.taken.notified());
            taken.as_mut().enable();
            // What is rung after the look is still pending, or is taken by another task, which tells us.
            if done()? {
                return Ok(());
            }
            let mut take = pin!(self.take(&read));
            poll_fn(|context| match taken.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Ok(())),
                Poll::Pending => take.as_mut().poll(context).map_ok(drop),
            })
            .await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::atomic::AtomicU32;
    use std::sync::Arc;
    use std::time::Duration;

    use rustix::event::{eventfd, EventfdFlags};
    use rustix::io::Errno;

    use super::*;

    const ROUNDS: u32 = 200;

    fn read(fd: &OwnedFd) -> Result<()> {
        match rustix::io::read(fd, &mut [0; 8]) {
            Ok(_) => Ok(()),
            Err(Errno::AGAIN) => Err(Error::WouldBlock),
            Err(other) => Err(Error::io(other, "read")),
        }
    }

    /// Two tasks wait for a word each; both words are changed, and one ring tells of both.
    async fn rounds() {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        let ring = fd.try_clone().unwrap();
        let watched = Arc::new(Watched::new(fd).unwrap());
        for _ in 0..ROUNDS {
            let words = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
            let wait = |index: usize| {
                let (watched, words) = (Arc::clone(&watched), Arc::clone(&words));
                tokio::spawn(async move {
                    let differs = || Ok(words[index].load(Ordering::Acquire) != 0);
                    watched.take_until(read, differs).await
                })
            };
            let tasks = [wait(0), wait(1)];
            tokio::task::yield_now().await;
            for word in words.iter() {
                word.store(1, Ordering::Release);
            }
            rustix::io::write(&ring, &1u64.to_ne_bytes()).unwrap();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
        }
    }

    fn run(mut builder: tokio::runtime::Builder) {
        let runtime = builder.enable_all().build().unwrap();
        let limit = Duration::from_secs(60);
        let done = runtime.block_on(async { tokio::time::timeout(limit, rounds()).await });
        done.expect("a task was not woken");
    }

    #[test]
    fn a_task_whose_event_another_takes_wakes_too() {
        run(tokio::runtime::Builder::new_current_thread());
        run(tokio::runtime::Builder::new_multi_thread());
    }
}
