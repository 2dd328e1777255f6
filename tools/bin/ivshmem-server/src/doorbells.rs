// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The eventfds of one ID.

use std::fs;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{eventfd, EventfdFlags};
use rustix::io::{preadv2, Errno, ReadWriteFlags};

/// The eventfds of one ID, by vector.
#[derive(Debug)]
pub(crate) struct Doorbells(Vec<OwnedFd>);

impl Doorbells {
    pub(crate) fn new(vectors: NonZeroU16) -> Result<Self, Errno> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let fds = (0..vectors.get()).map(|_| eventfd(0, flags));
        fds.collect::<Result<_, _>>().map(Self)
    }

    /// Puts eventfds that a server before this one made in the order of these numbers. `None`
    /// if one is missing.
    pub(crate) fn adopt(fds: Vec<OwnedFd>, order: &[u64]) -> io::Result<Option<Self>> {
        let mut found: Vec<(u64, OwnedFd)> = fds
            .into_iter()
            .map(|fd| Ok((number_of(fd.as_fd())?, fd)))
            .collect::<io::Result<_>>()?;
        let mut take = |number: &u64| {
            let index = found.iter().position(|(other, _)| other == number)?;
            Some(found.swap_remove(index).1)
        };
        Ok(order
            .iter()
            .map(&mut take)
            .collect::<Option<Vec<_>>>()
            .map(Self))
    }

    /// Forgets the interrupts that were meant for a client that is gone.
    pub(crate) fn silence(&self) {
        for fd in &self.0 {
            // Not by read(): any client can have made the eventfd a blocking one. Nothing to
            // read is what is wanted, and there is no other error that matters here.
            let mut count = [0; 8];
            let mut parts = [IoSliceMut::new(&mut count)];
            let _ = preadv2(fd, &mut parts, u64::MAX, ReadWriteFlags::NOWAIT);
        }
    }

    pub(crate) fn get(&self, vector: u16) -> BorrowedFd<'_> {
        self.0[usize::from(vector)].as_fd()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd).collect()
    }

    /// The kernel's numbers of the eventfds, by which they can be told apart later.
    pub(crate) fn numbers(&self) -> io::Result<Vec<u64>> {
        self.0.iter().map(|fd| number_of(fd.as_fd())).collect()
    }
}

fn number_of(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    fs::read_to_string(path)?
        .lines()
        .find_map(|line| line.strip_prefix("eventfd-id:")?.trim().parse().ok())
        .ok_or_else(|| io::Error::other("the kernel does not number eventfds (Linux 5.2 does)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTORS: NonZeroU16 = NonZeroU16::new(5).unwrap();

    #[test]
    fn order_is_found_again() {
        let doorbells = Doorbells::new(VECTORS).unwrap();
        let order = doorbells.numbers().unwrap();
        let mut fds = doorbells.0;
        fds.rotate_left(2);
        fds.push(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        let again = Doorbells::adopt(fds, &order).unwrap().unwrap();
        assert_eq!(again.numbers().unwrap(), order);
    }

    #[test]
    fn missing_one_is_noticed() {
        let doorbells = Doorbells::new(VECTORS).unwrap();
        let order = doorbells.numbers().unwrap();
        let mut fds = doorbells.0;
        fds.pop();
        assert!(Doorbells::adopt(fds, &order).unwrap().is_none());
    }

    #[test]
    fn silence_does_not_wait() {
        let doorbells = Doorbells::new(VECTORS).unwrap();
        rustix::io::write(doorbells.get(0), &3u64.to_ne_bytes()).unwrap();
        for fd in &doorbells.0 {
            rustix::io::ioctl_fionbio(fd, false).unwrap();
        }
        doorbells.silence();
        let mut count = [0; 8];
        rustix::io::ioctl_fionbio(doorbells.get(0), true).unwrap();
        assert_eq!(
            rustix::io::read(doorbells.get(0), &mut count),
            Err(Errno::AGAIN)
        );
    }
}
