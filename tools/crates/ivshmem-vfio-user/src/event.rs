// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The event descriptors by which QEMU learns of interrupts.

use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::{preadv2, Errno, FdFlags, ReadWriteFlags};

/// How long to wait before another look whether a signal has gone through.
const PAUSE: Duration = Duration::from_millis(1);

/// The offset that means none: an eventfd has no position.
const NO_POSITION: u64 = u64::MAX;

/// An eventfd that a QEMU gave, and of which it can change the counter and the flags at any time.
#[derive(Debug)]
pub(crate) struct Event(File);

impl Event {
    /// Makes sure that a descriptor is an eventfd, and that nobody's ring waits for its machine.
    pub fn new(file: File) -> io::Result<Self> {
        // With any other file, poll() and write() can block: another program can be behind it.
        let kind = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        if kind.as_os_str() != "anon_inode:[eventfd]" {
            let message = format!("{} is no eventfd, and not used", kind.display());
            return Err(io::Error::other(message));
        }
        // `vfio_user` receives descriptors without it.
        rustix::io::fcntl_setfd(&file, FdFlags::CLOEXEC)?;
        // As QEMU has it already.
        rustix::io::ioctl_fionbio(&file, true)?;
        Ok(Self(file))
    }

    /// Adds 1 to the counter. One that is full says that the machine was interrupted already.
    ///
    /// Blocks if the machine clears O_NONBLOCK, and fills the counter after the look here and before the write, until
    /// there is room.
    pub fn signal(&self) -> Result<(), Errno> {
        // Not left to O_NONBLOCK alone, which QEMU shares and can clear.
        if !self.has_room()? {
            return Ok(());
        }
        match rustix::io::write(&self.0, &1u64.to_ne_bytes()) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn has_room(&self) -> Result<bool, Errno> {
        let mut fds = [PollFd::new(&self.0, PollFlags::OUT)];
        // A signal ends this look only where there is no room.
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(0) | Err(Errno::INTR) => return Ok(false),
            other => other?,
        };
        Ok(fds[0].revents().contains(PollFlags::OUT))
    }

    /// Gives up an event that nobody finds any more, once all who found it before have signalled it: none of them
    /// waits for ever for a machine that does not want it any more. Blocks for microseconds, or for as long as the
    /// machine goes on filling the counter.
    pub fn retire(this: Arc<Self>) {
        while Arc::strong_count(&this) > 1 {
            if this.has_room() == Ok(false) {
                let mut count = [0; 8];
                let mut parts = [IoSliceMut::new(&mut count)];
                // It fails if there is nothing to take, whatever the flags say.
                let _ = preadv2(&this.0, &mut parts, NO_POSITION, ReadWriteFlags::NOWAIT);
            }
            thread::sleep(PAUSE);
        }
    }
}
