// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Locks between the programs of one machine, which end with the process that has them.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;

use nix::fcntl::{fcntl, FcntlArg};
use nix::libc;

/// Where the kernel tells its number for this start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A byte of a file that no other program of this machine can lock, until this is dropped or the process ends. A child
/// process that was forked meanwhile and runs the same program keeps it too.
#[derive(Debug)]
pub struct Lock {
    /// An open file description of its own: what is locked through it is nobody else's.
    _file: File,
    domain: u32,
    machine: u32,
}

impl Lock {
    /// Whom it is against: another number on each machine, for each of its starts, and for each file. Two that are
    /// equal are of programs of which at most one at a time can have the lock. Not 0.
    pub fn domain(&self) -> u32 {
        self.domain
    }

    /// Which machine this is, since it was started: another number on each, and for each of its starts. Programs of one
    /// machine that have it by different files, as containers can, have this number in common, and no lock. Not 0.
    pub fn machine(&self) -> u32 {
        self.machine
    }
}

/// What became of the wish for a lock.
#[derive(Debug)]
#[non_exhaustive]
pub enum Locking {
    /// We have it: whoever had it in the same domain has ended.
    Held(Lock),
    /// Another program of this machine has it, or another handle of this one.
    Taken,
    /// The file cannot be locked, or not by this user: nothing is known.
    Unknown,
}

impl Locking {
    /// Locks byte `offset` of `file`, which does not have to exist there. Does not block.
    pub fn of(file: impl AsFd, offset: u64) -> Self {
        let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        let file = OpenOptions::new().read(true).write(true).open(path);
        let Ok(file) = file else {
            return Self::Unknown;
        };
        let boot = std::fs::read_to_string(BOOT_ID);
        let (Ok(start), Ok(boot), Ok(meta)) = (offset.try_into(), boot, file.metadata()) else {
            return Self::Unknown;
        };
        let lock = libc::flock {
            // CAST: Two small constants, of another type in the structure.
            l_type: libc::F_WRLCK as _,
            l_whence: libc::SEEK_SET as _,
            l_start: start,
            l_len: 1,
            l_pid: 0,
        };
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => Self::Held(Lock {
                _file: file,
                domain: number(&format!("{boot} {} {}", meta.dev(), meta.ino())),
                machine: number(&boot),
            }),
            Err(nix::Error::EAGAIN | nix::Error::EACCES) => Self::Taken,
            Err(_) => Self::Unknown,
        }
    }
}

/// FNV-1a of what tells one thing from others; not 0.
fn number(text: &str) -> u32 {
    let step = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, step).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_it_and_dropping_it_ends_it() {
        let file = tempfile::tempfile().unwrap();
        let Locking::Held(first) = Locking::of(&file, 4096) else {
            panic!("not locked");
        };
        assert!(matches!(Locking::of(&file, 4096), Locking::Taken));
        let Locking::Held(other) = Locking::of(&file, 4097) else {
            panic!("another byte");
        };
        assert_eq!(first.domain(), other.domain());
        drop(first);
        assert!(matches!(Locking::of(&file, 4096), Locking::Held(_)));
        let another = tempfile::tempfile().unwrap();
        let Locking::Held(another) = Locking::of(&another, 4096) else {
            panic!("another file");
        };
        assert_ne!(another.domain(), other.domain());
        assert_eq!(another.machine(), other.machine());
    }
}
