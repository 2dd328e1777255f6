// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a server writes down for its successor: a state, and all that happened to it since.
//!
//! A journal is a memfd of lines of JSON, so that it survives the server if somebody keeps it
//! open, and can be read by people. The first line is a [`Snapshot`], the others are
//! [`Record`]s. Each is written by one system call before what it announces is done; what a
//! server that was killed did not write in full, it did not do either.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ivshmem_protocol::PeerId;
use rustix::fs::{self, MemfdFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::roster::{ConnectionId, Roster};

/// Number of this format. Raised when an older server could misread it.
const FORMAT: u32 = 1;

/// Where a server stands. `R` is [`Roster`] or a reference to one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Snapshot<R> {
    format: u32,
    /// Number that the next connection gets.
    pub next_connection: u64,
    pub regions: BTreeMap<String, RegionSnapshot<R>>,
}

/// Where a region stands.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RegionSnapshot<R> {
    pub roster: R,
    /// The kernel's numbers of the eventfds of each ID, by vector.
    pub doorbells: BTreeMap<PeerId, Vec<u64>>,
}

/// What happens to a server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Record {
    /// A connection becomes a member.
    Joined {
        number: ConnectionId,
        region: String,
        fixed: Option<PeerId>,
        vectors: std::num::NonZeroU16,
        doorbells: Vec<u64>,
    },
    /// A member is to be dropped as soon as that is safe.
    Expelled { number: ConnectionId },
    /// A connection is over.
    Removed { number: ConnectionId },
    /// The pending message of a connection is about to be sent.
    Sending { number: ConnectionId },
    /// So many bytes of it were sent.
    Sent { number: ConnectionId, bytes: usize },
}

impl<R> Snapshot<R> {
    pub(crate) fn new(next_connection: u64) -> Self {
        Self {
            format: FORMAT,
            next_connection,
            regions: BTreeMap::new(),
        }
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub(crate) struct Journal {
    fd: OwnedFd,
    length: u64,
}

impl Journal {
    pub(crate) fn new(snapshot: &Snapshot<&Roster>) -> io::Result<Self> {
        let fd = fs::memfd_create("ivshmem-journal", MemfdFlags::CLOEXEC)?;
        let mut journal = Self { fd, length: 0 };
        journal.write_line(snapshot)?;
        Ok(journal)
    }

    pub(crate) fn append(&mut self, record: &Record) -> io::Result<()> {
        self.write_line(record)
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    fn write_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        let mut rest = &line[..];
        while !rest.is_empty() {
            match rustix::io::pwrite(&self.fd, rest, self.length) {
                Ok(written) => {
                    self.length += written as u64;
                    rest = &rest[written..];
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

impl AsFd for Journal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Goes on with a journal that another server wrote.
pub(crate) fn reopen(fd: &OwnedFd) -> io::Result<Journal> {
    let text = read_all(fd.as_fd())?;
    // What follows the last whole line is not valid, and is overwritten.
    let whole = text.iter().rposition(|byte| *byte == b'\n');
    let length = whole.map_or(0, |position| position + 1) as u64;
    fs::ftruncate(fd, length)?;
    let fd = fd.try_clone()?;
    Ok(Journal { fd, length })
}

/// Reads a journal that another server wrote.
pub(crate) fn read(fd: BorrowedFd<'_>) -> io::Result<(Snapshot<Roster>, Vec<Record>)> {
    let text = read_all(fd)?;
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let snapshot: Snapshot<Roster> = lines
        .next()
        .and_then(parse)
        .ok_or_else(|| invalid("it has no beginning"))?;
    if snapshot.format != FORMAT {
        return Err(invalid("it was written by another version"));
    }
    let mut records = Vec::new();
    while let Some(line) = lines.next() {
        match parse(line) {
            Some(record) => records.push(record),
            // The server was killed while it wrote this line.
            None if lines.next().is_none() => break,
            None => return Err(invalid("it is damaged")),
        }
    }
    Ok((snapshot, records))
}

fn read_all(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match rustix::io::pread(fd, &mut chunk, text.len() as u64) {
            Ok(0) => return Ok(text),
            Ok(count) => text.extend_from_slice(&chunk[..count]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn parse<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    serde_json::from_slice(line.strip_suffix(b"\n")?).ok()
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: ConnectionId = ConnectionId(9);

    fn journal() -> Journal {
        let roster = Roster::new();
        let mut snapshot = Snapshot::new(9);
        let region = RegionSnapshot {
            roster: &roster,
            doorbells: BTreeMap::new(),
        };
        snapshot.regions.insert("a".to_owned(), region);
        Journal::new(&snapshot).unwrap()
    }

    #[test]
    fn what_was_written_is_read() {
        let mut journal = journal();
        let record = Record::Sent {
            number: NUMBER,
            bytes: 8,
        };
        journal.append(&record).unwrap();
        let (snapshot, records) = read(journal.as_fd()).unwrap();
        assert_eq!(snapshot.next_connection, 9);
        assert_eq!(snapshot.regions["a"].roster, Roster::new());
        assert!(matches!(
            records[..],
            [Record::Sent {
                number: NUMBER,
                bytes: 8
            }]
        ));
    }

    #[test]
    fn record_that_was_cut_off_did_not_happen() {
        let mut journal = journal();
        journal.append(&Record::Sending { number: NUMBER }).unwrap();
        let whole = journal.len();
        journal.append(&Record::Removed { number: NUMBER }).unwrap();
        for length in whole..journal.len() {
            fs::ftruncate(&journal.fd, length).unwrap();
            let (_, records) = read(journal.as_fd()).unwrap();
            assert!(matches!(records[..], [Record::Sending { number: NUMBER }]));
            journal.length = whole;
            journal.append(&Record::Removed { number: NUMBER }).unwrap();
        }
    }

    #[test]
    fn damage_is_noticed() {
        let mut journal = journal();
        journal.append(&Record::Sending { number: NUMBER }).unwrap();
        rustix::io::pwrite(&journal.fd, b"?", journal.len() - 3).unwrap();
        journal.append(&Record::Sending { number: NUMBER }).unwrap();
        assert!(read(journal.as_fd()).is_err());
        rustix::io::pwrite(&journal.fd, b"?", 0).unwrap();
        assert!(read(journal.as_fd()).is_err());
    }
}
