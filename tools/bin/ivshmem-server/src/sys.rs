// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! System calls and descriptors for which there is no safe interface.
#![allow(unsafe_code)] // Each call is wrapped right here, so that the rest needs none.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::{fcntl_setfd, Errno, FdFlags};
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};

/// Who is at the other end of a UNIX socket, as of the time of its `connect()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// `None` if the process is in a PID namespace of which ours is no ancestor.
    pub pid: Option<u32>,
    pub uid: u32,
    pub gid: u32,
}

impl Credentials {
    /// Of somebody about whom the kernel does not tell.
    pub(crate) const UNKNOWN: Self = Self {
        pid: None,
        uid: u32::MAX,
        gid: u32::MAX,
    };
}

/// Asks the kernel who is at the other end. It may have passed the socket on since.
pub(crate) fn credentials(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    let mut found = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: The pointers are to two live variables, and `length` is the size of the first.
    // Every bit pattern that the kernel writes there is a valid `ucred`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Credentials {
        pid: u32::try_from(found.pid).ok().filter(|pid| *pid != 0),
        uid: found.uid,
        gid: found.gid,
    })
}

/// Asks the kernel for the supplementary groups of who is at the other end.
pub(crate) fn supplementary_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let room = groups.len() * size_of::<libc::gid_t>();
        let mut length = room as libc::socklen_t;
        // SAFETY: `groups` is writable for `length` bytes, and `length` is a live variable.
        // Every bit pattern is a valid `gid_t`.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let needed = length as usize / size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(needed);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // The kernel says how much room it needs when there is too little.
        if error.raw_os_error() != Some(libc::ERANGE) || needed <= groups.len() {
            return Err(error);
        }
        groups.resize(needed, 0);
    }
}

/// Bytes, as the kernel counts them, that were sent to a UNIX socket and have not been read.
pub(crate) fn unread(socket: BorrowedFd<'_>) -> Result<usize, Errno> {
    let mut count: libc::c_int = 0;
    // SAFETY: The kernel writes one `int` to the pointer, which is to a live one.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    match result {
        0 => usize::try_from(count).map_err(|_| Errno::RANGE),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// Nodes that the kernel can have (`MAX_NUMNODES`), as far as known.
const NODES: u32 = 1024;

/// Has the pages of a file that is memory be on a NUMA node, those that are allocated from now on.
pub(crate) fn bind_to_node(file: BorrowedFd<'_>, length: usize, node: u32) -> io::Result<()> {
    const MPOL_BIND: libc::c_ulong = 2;
    const WORD: u32 = libc::c_ulong::BITS;
    if node >= NODES {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut mask = [0 as libc::c_ulong; (NODES / WORD) as usize];
    mask[(node / WORD) as usize] = 1 << (node % WORD);
    let (access, flags) = (ProtFlags::empty(), MapFlags::SHARED | MapFlags::NORESERVE);
    // The kernel writes it down with the file, as the mapping is shared.
    // SAFETY: The kernel chooses a place where nothing is.
    let place = unsafe { mmap(ptr::null_mut(), length, access, flags, file, 0) }?;
    // SAFETY: The range is the mapping that was just made, and `mask` has as many bits as the next argument says, which
    // the kernel counts from 1. It reads the mask and writes to nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            place,
            length,
            MPOL_BIND,
            mask.as_ptr(),
            libc::c_ulong::from(NODES + 1),
            0 as libc::c_ulong,
        )
    };
    let error = io::Error::last_os_error();
    // SAFETY: The mapping was made above, and nothing refers to it.
    unsafe { munmap(place, length) }?;
    if result == 0 {
        return Ok(());
    }
    Err(error)
}

/// Takes over a descriptor that this process inherited under a number that somebody told it.
///
/// Not one that this process opened itself, nor one that was taken over before: all of those are closed on
/// `exec()`, which no inherited one is.
pub fn inherit(number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        let text = "the standard streams cannot be used for it";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // SAFETY: It reads flags, and does nothing else, whatever the number.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::FD_CLOEXEC != 0 {
        let text = "it is not inherited, or used twice";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // SAFETY: The descriptor is open, and not one of the standard streams. Nothing in this process owns it, as
    // the flag would be set: all that is opened here has it from the beginning, and all that is inherited gets it below.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(fd.as_fd(), FdFlags::CLOEXEC)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn other_end_is_this_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let found = credentials(ours.as_fd()).unwrap();
        assert_eq!(found.pid, Some(std::process::id()));
        assert_eq!(found.uid, rustix::process::getuid().as_raw());
        assert_eq!(found.gid, rustix::process::getgid().as_raw());
        let mut groups = supplementary_groups(ours.as_fd()).unwrap();
        groups.sort_unstable();
        let mut expected: Vec<_> = rustix::process::getgroups()
            .unwrap()
            .iter()
            .map(|group| group.as_raw())
            .collect();
        expected.sort_unstable();
        assert_eq!(groups, expected);
    }

    #[test]
    fn standard_streams_and_closed_numbers_are_not_inherited() {
        for number in [-1, 0, 1, 2, 1 << 20] {
            assert!(inherit(number).is_err(), "{number}");
        }
    }

    #[test]
    fn what_this_process_opened_is_not_inherited() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let error = inherit(file.as_raw_fd()).unwrap_err();
        assert!(error.to_string().contains("not inherited"), "{error}");
    }
}
