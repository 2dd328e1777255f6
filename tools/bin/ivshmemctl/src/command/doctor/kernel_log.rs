// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the driver said in the kernel log, if one may read it.

use rustix::fs::{open, Mode, OFlags};
use rustix::io::{read, Errno};

/// What stands in the driver's line before the reason.
const BEFORE: &str = "not write-back: ";

/// Longest record, as `Documentation/ABI/testing/dev-kmsg` of Linux has it.
const RECORD: usize = 8192;

/// The latest reason why the memory of the device at `bus_id` is not write-back.
pub fn reason_against_write_back(bus_id: &str) -> Option<String> {
    reason_in(&records()?, bus_id)
}

fn reason_in(records: &[String], bus_id: &str) -> Option<String> {
    let mut latest = records.iter().rev();
    let line = latest.find(|line| line.contains(bus_id) && line.contains(BEFORE))?;
    let (_, reason) = line.split_once(BEFORE)?;
    Some(reason.lines().next()?.to_string())
}

fn records() -> Option<Vec<String>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let log = open("/dev/kmsg", flags, Mode::empty()).ok()?;
    let mut records = Vec::new();
    let mut record = [0; RECORD];
    loop {
        match read(&log, &mut record) {
            Ok(0) | Err(Errno::AGAIN) => return Some(records),
            Ok(length) => records.push(String::from_utf8_lossy(&record[..length]).into_owned()),
            // What was to come next has been overwritten: go on with what is there.
            Err(Errno::PIPE | Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_reason_of_this_device() {
        let line = |at: &str, why: &str| {
            format!("6,1,2,-;ivshmem_rs {at}: the memory is uncached, not write-back: {why}\n SUBSYSTEM=pci\n")
        };
        let records = [
            line("0000:00:04.0", "old"),
            line("0000:00:04.0", "an MTRR"),
            line("0000:00:05.0", "other"),
        ];
        assert_eq!(
            reason_in(&records, "0000:00:04.0").as_deref(),
            Some("an MTRR")
        );
        assert_eq!(reason_in(&records, "0000:00:06.0"), None);
    }
}
