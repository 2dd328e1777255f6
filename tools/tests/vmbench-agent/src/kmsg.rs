// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The kernel's log, record by record.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;

/// Longest record that the kernel hands out, in bytes (`PRINTK_MESSAGE_MAX` is less).
const RECORD_MAX: usize = 8192;

/// Returns the text of all records numbered `since` and above, and the number that the next record
/// will have. Records that the ring buffer has lost are missing from the text.
pub fn read_since(since: u64) -> io::Result<(String, u64)> {
    let mut log = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open("/dev/kmsg")?;
    let mut text = String::new();
    let mut next = 0;
    let mut record = [0; RECORD_MAX];
    loop {
        match log.read(&mut record) {
            Ok(len) => {
                let record = String::from_utf8_lossy(&record[..len]);
                let Some((sequence, line)) = parse(&record) else {
                    continue;
                };
                next = sequence + 1;
                if sequence >= since {
                    text.push_str(&line);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok((text, next)),
            // The record was overwritten before it could be read; the next read goes on after it.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => return Err(error),
        }
    }
}

/// Splits `level,sequence,microseconds,flags;text\n DICTIONARY=..\n` into the number and a line as
/// the console shows it.
fn parse(record: &str) -> Option<(u64, String)> {
    let (head, body) = record.split_once(';')?;
    let mut fields = head.split(',');
    let sequence = fields.nth(1)?.parse().ok()?;
    let micros: u64 = fields.next()?.parse().ok()?;
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let text = body.lines().next().unwrap_or_default();
    Some((sequence, format!("[{seconds:5}.{fraction:06}] {text}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_becomes_a_line() {
        let record = "4,1042,12000345,-,caller=T1;WARNING: a; b\n SUBSYSTEM=pci\n";
        let line = "[   12.000345] WARNING: a; b\n".to_string();
        assert_eq!(parse(record), Some((1042, line)));
    }

    #[test]
    fn what_is_no_record_is_skipped() {
        for text in ["", ";", "1,x,3,-;text", "1,2;text", "no semicolon"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
