// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The driver's commands, each as a function.
#![allow(unsafe_code)] // The kernel's side of each command is what its structure says.

use std::os::fd::BorrowedFd;

use ivshmem_abi::ioctl::{self, Info, Ring, RingMany, SetEventfd, Wait};
use rustix::io;
use rustix::ioctl::{ioctl, Getter, Setter, Updater};

pub(crate) fn get_info(fd: BorrowedFd<'_>) -> io::Result<Info> {
    // SAFETY: GET_INFO writes one `Info`, for which every bit pattern is valid.
    let command = unsafe { Getter::<{ ioctl::GET_INFO }, Info>::new() };
    // SAFETY: As above; on another driver's file the type byte and the encoded size stand for themselves.
    unsafe { ioctl(fd, command) }
}

pub(crate) fn ring(fd: BorrowedFd<'_>, argument: Ring) -> io::Result<()> {
    // SAFETY: RING reads one `Ring`.
    let command = unsafe { Setter::<{ ioctl::RING }, Ring>::new(argument) };
    // SAFETY: As above.
    unsafe { ioctl(fd, command) }
}

/// `rings` are at most [`ioctl::RING_MANY_MAX`].
pub(crate) fn ring_many(fd: BorrowedFd<'_>, rings: &[Ring]) -> io::Result<()> {
    let argument = RingMany {
        count: u32::try_from(rings.len()).map_err(|_| io::Errno::INVAL)?,
        flags: 0,
        rings: rings.as_ptr().expose_provenance() as u64,
    };
    // SAFETY: RING_MANY reads one `RingMany`, and `count` of `Ring` where it points, which is `rings`.
    let command = unsafe { Setter::<{ ioctl::RING_MANY }, RingMany>::new(argument) };
    // SAFETY: As above.
    unsafe { ioctl(fd, command) }
}

pub(crate) fn subscribe(fd: BorrowedFd<'_>, mask: u64) -> io::Result<()> {
    // SAFETY: SUBSCRIBE reads one `u64`.
    let command = unsafe { Setter::<{ ioctl::SUBSCRIBE }, u64>::new(mask) };
    // SAFETY: As above.
    unsafe { ioctl(fd, command) }
}

pub(crate) fn set_eventfd(fd: BorrowedFd<'_>, argument: SetEventfd) -> io::Result<()> {
    // SAFETY: SET_EVENTFD reads one `SetEventfd`.
    let command = unsafe { Setter::<{ ioctl::SET_EVENTFD }, SetEventfd>::new(argument) };
    // SAFETY: As above. The driver takes a reference to the eventfd of its own.
    unsafe { ioctl(fd, command) }
}

pub(crate) fn wait(fd: BorrowedFd<'_>, argument: &mut Wait) -> io::Result<()> {
    // SAFETY: WAIT reads and writes one `Wait`, for which every bit pattern is valid.
    let command = unsafe { Updater::<{ ioctl::WAIT }, Wait>::new(argument) };
    // SAFETY: As above.
    unsafe { ioctl(fd, command) }
}
