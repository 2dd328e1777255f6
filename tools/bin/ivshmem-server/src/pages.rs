// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The pages of the memory: on which NUMA node they are, and that they are there.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::fs::{self, FallocateFlags};
use rustix::io::Errno;
use tracing::info;

use crate::source::MemorySource;
use crate::{sys, BindError, RegionConfig};

/// Bytes that are allocated at once, a multiple of all sizes of pages.
const STEP: u64 = 1 << 30;

/// Time between two lines of the log that say how far it is.
const INTERVAL: Duration = Duration::from_secs(3);

/// File systems whose files are memory, and remember where it is to be.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x9584_58f6];

/// Has all pages that are allocated from now on, by whomever, be on the node of the configuration.
pub(crate) fn place(fd: BorrowedFd<'_>, config: &RegionConfig) -> Result<(), BindError> {
    let Some(node) = config.numa_node else {
        return Ok(());
    };
    // CAST: The kernel's numbers are not negative.
    let is_memory = |found: fs::StatFs| MEMORY_FILE_SYSTEMS.contains(&(found.f_type as u64));
    if !fs::fstatfs(fd).is_ok_and(is_memory) {
        return Err(BindError::NumaNodeOfFile);
    }
    sys::bind_to_node(fd, config.size.bytes() as usize, node)
        .map_err(|error| BindError::NumaNode(node, error))
}

/// Allocates all pages, and says how far it is if that takes long.
pub(crate) fn allocate(
    fd: impl AsFd,
    config: &RegionConfig,
    check: impl Fn() -> Result<(), BindError>,
) -> Result<(), BindError> {
    let hint = match (config.huge_pages, config.memory == MemorySource::Memfd) {
        (Some(_), _) => "of huge pages, see nr_hugepages in /sys/kernel/mm/hugepages",
        (None, true) => "of memory, see MemAvailable in /proc/meminfo",
        (None, false) => "in the file system, see `df`",
    };
    let mut progress = Progress::new(Instant::now());
    let no_memory = |errno: Errno| BindError::NoMemory(config.size, hint, errno.into());
    in_steps(config.size.bytes(), |start, length| {
        check()?;
        fs::fallocate(&fd, FallocateFlags::empty(), start, length).map_err(no_memory)?;
        if let Some(percent) = progress.step(start + length, config.size.bytes(), Instant::now()) {
            info!("{}: {percent} % of {} allocated", config.name, config.size);
        }
        Ok(())
    })
}

fn in_steps<E>(size: u64, mut step: impl FnMut(u64, u64) -> Result<(), E>) -> Result<(), E> {
    let mut start = 0;
    while start < size {
        let length = STEP.min(size - start);
        step(start, length)?;
        start += length;
    }
    Ok(())
}

/// When something was said of how far it is.
struct Progress {
    last: Instant,
}

impl Progress {
    fn new(now: Instant) -> Self {
        Self { last: now }
    }

    /// How much is done in percent, if that is to be said.
    fn step(&mut self, done: u64, size: u64, now: Instant) -> Option<u64> {
        if now - self.last < INTERVAL {
            return None;
        }
        self.last = now;
        Some(done * 100 / size)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn steps_are_the_whole_and_no_more() {
        for size in [4096, STEP, STEP + 4096, 1 << 40] {
            let mut next = 0;
            let all = in_steps(size, |start, length| {
                assert!(start == next && length > 0 && length <= STEP);
                next += length;
                Ok::<_, Errno>(())
            });
            assert_eq!(all, Ok(()));
            assert_eq!(next, size);
        }
        let failed = in_steps(1 << 40, |start, _| match start {
            0 => Ok(()),
            _ => Err(Errno::NOSPC),
        });
        assert_eq!(failed, Err(Errno::NOSPC));
    }

    #[test]
    fn whoever_is_to_end_allocates_no_more() {
        let mut config = RegionConfig::new("unused");
        config.size = (4 * STEP).to_string().parse().unwrap();
        let file = tempfile::tempfile().unwrap();
        let checks = Cell::new(0);
        let stop = || {
            checks.set(checks.get() + 1);
            Err(BindError::Stopped)
        };
        let error = allocate(&file, &config, stop).unwrap_err();
        assert!(matches!(error, BindError::Stopped), "{error}");
        assert_eq!(checks.get(), 1);
        assert_eq!(file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn progress_is_said_now_and_then() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(progress.step(1, 10, at(1)), None);
        assert_eq!(progress.step(5, 10, at(4)), Some(50));
        assert_eq!(progress.step(6, 10, at(5)), None);
        assert_eq!(progress.step(10, 10, at(9)), Some(100));
    }
}
