// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a server writes down for its successor: a state, and all that happened to it since.
//!
//! A journal is a memfd, so that it survives the server if somebody keeps it open. Its first page is a
//! [`Page`], which says where the text begins. That is lines of JSON, which people can read: a
//! [`State`], and [`Record`]s. Each is written by one system call before what it announces is done; what a
//! server that was killed did not write in full, it did not do either.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ivshmem_protocol::ConnectionId;
use rustix::fs::{self, FallocateFlags, MemfdFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::succession::page::{Message, Page, LENGTH};
use crate::succession::state::{Record, State};

/// A journal that is being written.
#[derive(Debug)]
pub(crate) struct Journal {
    fd: OwnedFd,
    page: Page,
    /// Length of the file.
    length: u64,
    /// Number of records since the state was written.
    records: usize,
}

impl Journal {
    /// A journal without text.
    pub(crate) fn new() -> io::Result<Self> {
        let fd = fs::memfd_create("ivshmem-journal", MemfdFlags::CLOEXEC)?;
        fs::ftruncate(&fd, LENGTH as u64)?;
        Ok(Self {
            page: Page::map(fd.as_fd())?,
            fd,
            length: LENGTH as u64,
            records: 0,
        })
    }

    /// Goes on with the journal of a server before this one. Returns the state that it left.
    pub(crate) fn adopt(fd: OwnedFd) -> io::Result<(Self, State<'static>)> {
        if fs::fstat(&fd)?.st_size < LENGTH as i64 {
            return Err(invalid("it has no beginning"));
        }
        let page = Page::map(fd.as_fd())?;
        let text = read_from(fd.as_fd(), page.start())?;
        let (mut state, valid) = read(&text)?;
        let last = page.batch();
        if last.number > state.batch {
            state.apply(Record::Sent {
                batch: last.number,
                number: last.connection,
                messages: last.sent,
            })?;
        }
        // The next state must not come behind half a record, lest it be taken for damage.
        let length = page.start() + valid as u64;
        fs::ftruncate(&fd, length)?;
        let journal = Self {
            fd,
            page,
            length,
            records: 0,
        };
        Ok((journal, state))
    }

    /// Number of the last batch that was sent.
    pub(crate) fn batch(&self) -> u64 {
        self.page.batch().number
    }

    /// Sends messages as [`Page::send`] does, whether or not there is text.
    pub(crate) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        number: ConnectionId,
        messages: &[Message<'_>],
    ) -> Result<usize, Errno> {
        self.page.send(socket, number, messages)
    }

    /// Begins anew with a state, in place of all that was written before. Whenever the server is killed,
    /// the one or the other is there.
    pub(crate) fn begin(&mut self, state: &State<'_>) -> io::Result<()> {
        let start = self.length;
        self.write_line(state)?;
        self.page.set_start(start);
        self.records = 0;
        let first = LENGTH as u64;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // From the second page on, and up to a page that the state begins in.
        if start > first {
            fs::fallocate(&self.fd, flags, first, start - first)?;
        }
        Ok(())
    }

    pub(crate) fn append(&mut self, record: &Record) -> io::Result<()> {
        self.records += 1;
        self.write_line(record)
    }

    /// Number of records that a successor would have to read.
    pub(crate) fn records(&self) -> usize {
        self.records
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

/// Reads a text. Returns how much of it is valid, too: the last line may be half a record, or the state
/// of a new beginning that was not made.
pub(crate) fn read(text: &[u8]) -> io::Result<(State<'static>, usize)> {
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let mut state: State<'static> = parse(first).ok_or_else(|| invalid("it has no beginning"))?;
    let mut valid = first.len();
    if !state.is_known() {
        return Err(invalid("it was written by another version"));
    }
    while let Some(line) = lines.next() {
        match parse(line) {
            Some(record) => {
                state.apply(record)?;
                valid += line.len();
            }
            // The server was killed while it wrote this line.
            None if lines.next().is_none() => break,
            None => return Err(invalid("it is damaged")),
        }
    }
    Ok((state, valid))
}

/// Reads a text as a successor does, and asks of the state what a server asks of it. Returns whether the
/// text was understood.
#[cfg(any(test, feature = "fuzzing"))]
pub fn try_out(text: &[u8]) -> bool {
    let Ok((mut state, valid)) = read(text) else {
        return false;
    };
    assert!(valid <= text.len());
    for region in state.regions.values_mut() {
        let membership = region.membership.to_mut();
        let _ = membership.next_id(None);
        for number in membership.connections().collect::<Vec<_>>() {
            let most = 1000;
            let sent = membership.next_messages(number, most).count();
            let waiting = membership.waiting(number);
            assert!(sent == waiting.min(most), "{sent} of {waiting}");
            membership.advance(number, sent);
            membership.remove(number);
        }
        assert!(membership.is_empty() || membership.connections().next().is_none());
    }
    true
}

fn read_from(fd: BorrowedFd<'_>, start: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match rustix::io::pread(fd, &mut chunk, start + text.len() as u64) {
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
    use std::num::NonZeroU16;

    use ivshmem_protocol::Membership;

    use super::*;
    use crate::succession::state::RegionState;

    const NUMBER: ConnectionId = ConnectionId(9);

    fn join(number: ConnectionId) -> Record {
        Record::Joined {
            number,
            region: "a".to_owned(),
            fixed: None,
            vectors: NonZeroU16::MIN,
            doorbells: vec![1],
        }
    }

    fn journal() -> Journal {
        let mut journal = Journal::new().unwrap();
        let mut state = State::new(9, 0);
        let region = RegionState {
            vectors: NonZeroU16::MIN,
            drained: false,
            membership: std::borrow::Cow::Owned(Membership::new(4)),
            doorbells: Default::default(),
        };
        state.regions.insert("a".to_owned(), region);
        journal.begin(&state).unwrap();
        journal
    }

    fn left(journal: &Journal) -> io::Result<State<'static>> {
        Journal::adopt(journal.as_fd().try_clone_to_owned()?).map(|(_, state)| state)
    }

    fn waiting(state: &State<'_>) -> usize {
        state.regions["a"].membership.waiting(NUMBER)
    }

    #[test]
    fn what_was_written_is_read() {
        let mut journal = journal();
        journal.append(&join(NUMBER)).unwrap();
        let state = left(&journal).unwrap();
        assert_eq!((state.next_connection, waiting(&state)), (10, 4));
        let (batch, messages) = (1, 3);
        let sent = Record::Sent {
            batch,
            number: NUMBER,
            messages,
        };
        journal.append(&sent).unwrap();
        assert_eq!(waiting(&left(&journal).unwrap()), 1);
    }

    #[test]
    fn what_was_sent_and_not_written_is_known() {
        let mut journal = journal();
        journal.append(&join(NUMBER)).unwrap();
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let sent = journal.send(ours.as_fd(), NUMBER, &[([0; 8], None); 2]);
        assert_eq!(sent, Ok(2));
        let state = left(&journal).unwrap();
        assert_eq!((state.batch, waiting(&state)), (1, 2));
        // Once it is written, it is not counted again.
        let record = Record::Sent {
            batch: 1,
            number: NUMBER,
            messages: 2,
        };
        journal.append(&record).unwrap();
        assert_eq!(waiting(&left(&journal).unwrap()), 2);
        journal.begin(&state).unwrap();
        assert_eq!(waiting(&left(&journal).unwrap()), 2);
    }

    #[test]
    fn new_beginning_takes_the_place_of_the_old_one() {
        let mut journal = journal();
        let state = left(&journal).unwrap();
        for round in 1..200 {
            journal.append(&join(NUMBER)).unwrap();
            let before = journal.length;
            journal.begin(&state).unwrap();
            assert_eq!(waiting(&left(&journal).unwrap()), 0, "{round}");
            // Cut off, it is as if it had not begun.
            assert!(journal.page.start() == before && journal.records() == 0);
        }
        let blocks = fs::fstat(&journal.fd).unwrap().st_blocks * 512;
        assert!(blocks <= 4 * LENGTH as i64, "{blocks} bytes");
    }

    #[test]
    fn record_that_was_cut_off_did_not_happen() {
        let mut journal = journal();
        journal.append(&join(NUMBER)).unwrap();
        let whole = journal.length;
        let removed = Record::Removed { number: NUMBER };
        journal.append(&removed).unwrap();
        for length in (whole..journal.length).rev() {
            fs::ftruncate(&journal.fd, length).unwrap();
            assert_eq!(waiting(&left(&journal).unwrap()), 4);
            // What was cut off is gone, and its place is free.
            assert_eq!(fs::fstat(&journal.fd).unwrap().st_size as u64, whole);
            rustix::io::pwrite(&journal.fd, &[b'x'; 99], whole).unwrap();
        }
    }

    /// A successor can be killed, too, before it has begun anew, and so can the next.
    #[test]
    fn beginning_that_was_not_made_is_not_there() {
        let mut journal = journal();
        journal.append(&join(NUMBER)).unwrap();
        let whole = journal.length;
        for _ in 0..3 {
            let fd = journal.as_fd().try_clone_to_owned().unwrap();
            let (mut next, state) = Journal::adopt(fd).unwrap();
            assert_eq!((next.length, waiting(&state)), (whole, 4));
            next.write_line(&state).unwrap();
        }
    }

    /// Whatever is in it, reading it ends, and so does what is done with what was read.
    #[test]
    fn any_damage_is_survived() {
        let mut journal = journal();
        for number in 0..3 {
            journal.append(&join(ConnectionId(number))).unwrap();
        }
        for (batch, messages) in [(1, 3), (2, 1)] {
            let number = ConnectionId(0);
            let sent = Record::Sent {
                batch,
                number,
                messages,
            };
            journal.append(&sent).unwrap();
        }
        let number = ConnectionId(1);
        journal.append(&Record::Removed { number }).unwrap();
        let text = read_from(journal.as_fd(), journal.page.start()).unwrap();
        let mut understood = 0;
        for index in 0..text.len() {
            for byte in [b'0', b'9', b'-', b'}', b'\n', 0xff] {
                let mut damaged = text.clone();
                damaged[index] = byte;
                understood += usize::from(try_out(&damaged));
            }
        }
        assert!(understood > 100, "{understood}");
    }

    #[test]
    fn damage_is_noticed() {
        let mut journal = journal();
        journal.append(&join(NUMBER)).unwrap();
        rustix::io::pwrite(&journal.fd, b"?", journal.length - 3).unwrap();
        journal.append(&Record::Removed { number: NUMBER }).unwrap();
        assert!(left(&journal).is_err());
        rustix::io::pwrite(&journal.fd, b"?", LENGTH as u64).unwrap();
        assert!(left(&journal).is_err());
        fs::ftruncate(&journal.fd, 0).unwrap();
        assert!(Journal::adopt(journal.fd.try_clone().unwrap()).is_err());
    }
}
