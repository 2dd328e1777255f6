// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Doorbells: eventfds that processes which need not be friendly share with us.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use ivshmem::ring_eventfd;
use rustix::event::{eventfd, EventfdFlags};
use rustix::fs::{fcntl_getfl, fcntl_setfl, OFlags};
use rustix::io::{preadv2, Errno, ReadWriteFlags};

/// The position that stands for "as `read` does" in `preadv2`.
const NO_POSITION: u64 = u64::MAX;

/// One vector of one peer. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Eventfd(Arc<OwnedFd>);

impl Eventfd {
    /// One of this process's own.
    pub fn new() -> Result<Self, Errno> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(fd)))
    }

    /// Takes over what the server sent. The flag belongs to all who share the eventfd; this is what QEMU
    /// sets it to as well, so that nobody blocks on a full counter.
    pub fn adopt(fd: OwnedFd) -> Result<Self, Errno> {
        let flags = fcntl_getfl(&fd)?;
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self(Arc::new(fd)))
    }

    /// The descriptor, which is open for as long as a clone.
    pub fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.0)
    }

    /// Adds 1, so that the owner is woken.
    pub fn ring(&self) -> io::Result<()> {
        ring_eventfd(self)
    }

    /// Takes the counter, 0 if it was not rung. Never blocks, whatever others have done to O_NONBLOCK. An error if this is
    /// no eventfd, as nobody but the server can have made it.
    pub fn take(&self) -> Result<u64, Errno> {
        let mut count = [0; 8];
        let mut parts = [IoSliceMut::new(&mut count)];
        match preadv2(&self.0, &mut parts, NO_POSITION, ReadWriteFlags::NOWAIT) {
            Ok(8) if count != [0; 8] => Ok(u64::from_ne_bytes(count)),
            Ok(_) => Err(Errno::INVAL),
            Err(Errno::AGAIN) | Err(Errno::INTR) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Eventfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::sys::pthread::{pthread_kill, pthread_self};
    use nix::sys::signal::Signal;
    use rustix::event::{poll, PollFd, PollFlags, Timespec};
    use signal_hook::consts::SIGUSR2;

    use super::*;

    fn shared() -> (Eventfd, OwnedFd) {
        let fd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let theirs = fd.try_clone().unwrap();
        (Eventfd::adopt(fd).unwrap(), theirs)
    }

    /// What a hostile peer does to make others block.
    fn clear_nonblock(fd: &OwnedFd) {
        let flags = fcntl_getfl(fd).unwrap();
        fcntl_setfl(fd, flags - OFlags::NONBLOCK).unwrap();
    }

    #[test]
    fn rings_are_counted_and_taken_once() {
        let (ours, _theirs) = shared();
        assert_eq!(ours.take(), Ok(0));
        ours.ring().unwrap();
        ours.ring().unwrap();
        assert_eq!(ours.take(), Ok(2));
        assert_eq!(ours.take(), Ok(0));
    }

    // These two would hang if they were wrong.
    #[test]
    fn taking_never_blocks() {
        let (ours, theirs) = shared();
        clear_nonblock(&theirs);
        assert_eq!(ours.take(), Ok(0));
    }

    #[test]
    fn ringing_a_full_counter_never_blocks() {
        let (ours, theirs) = shared();
        clear_nonblock(&theirs);
        let full = (u64::MAX - 1).to_ne_bytes();
        rustix::io::write(&theirs, &full).unwrap();
        ours.ring().unwrap();
        assert_eq!(ours.take(), Ok(u64::MAX - 1));
    }

    #[test]
    fn ringing_a_full_counter_is_no_error_for_a_thread_that_gets_a_signal() {
        let (ours, theirs) = shared();
        let full = (u64::MAX - 1).to_ne_bytes();
        rustix::io::write(&theirs, &full).unwrap();
        let handled = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGUSR2, handled).unwrap();
        let ringer = pthread_self();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    pthread_kill(ringer, Signal::SIGUSR2).unwrap();
                }
            });
            // Each look of ours could as well have been one of a ring's.
            let (mut interrupted, mut failed) = (0, 0);
            while interrupted < 20 {
                let mut fds = [PollFd::new(&ours.0, PollFlags::OUT)];
                let look = poll(&mut fds, Some(&Timespec::default()));
                interrupted += u32::from(look == Err(Errno::INTR));
                failed += u32::from(ours.ring().is_err());
            }
            over.store(true, Ordering::Relaxed);
            assert_eq!(failed, 0);
        });
    }
}
