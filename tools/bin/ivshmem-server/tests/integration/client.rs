// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A strict client, which shares no code with the server.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    recvmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags,
};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

/// A number and the descriptor that came with it.
pub type Received = (i64, Option<OwnedFd>);

/// The same, as it was sent.
pub type Bytes = ([u8; 8], Option<OwnedFd>);

/// A connection to a server.
#[derive(Debug)]
pub struct Connection(UnixStream);

/// Waits until somebody listens at a path.
pub fn wait_for_listener(path: &Path) {
    while UnixStream::connect(path).is_err() {
        std::thread::yield_now();
    }
}

impl Connection {
    pub fn open(path: &Path) -> Self {
        let socket = UnixStream::connect(path).unwrap();
        let limit = test_limit::limit();
        socket.set_read_timeout(Some(limit)).unwrap();
        Self(socket)
    }

    /// The next eight bytes and the descriptor that came with them; `None` at the end of the
    /// stream.
    pub fn receive_bytes(&self) -> Option<Bytes> {
        self.receive_with(RecvFlags::empty())
            .expect("the server does not send what it has to")
    }

    /// The next message if it is there already. The stream must not have ended.
    pub fn try_receive(&self) -> Option<Received> {
        match self.receive_with(RecvFlags::DONTWAIT) {
            Ok(message) => {
                let (bytes, fd) = message.expect("the server closed the connection");
                Some((i64::from_le_bytes(bytes), fd))
            }
            Err(Errno::AGAIN) => None,
            Err(errno) => panic!("{errno}"),
        }
    }

    /// The next message if there is one; for clients that may have been dropped meanwhile.
    pub fn look(&self) -> Option<Received> {
        let (bytes, fd) = self.receive_with(RecvFlags::DONTWAIT).ok()??;
        Some((i64::from_le_bytes(bytes), fd))
    }

    fn receive_with(&self, flags: RecvFlags) -> Result<Option<Bytes>, Errno> {
        let mut bytes = [0; 8];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let result = recvmsg(&self.0, &mut parts, &mut ancillary, flags)?;
        assert!(!result.flags.contains(ReturnFlags::CTRUNC));
        let mut fds: Vec<OwnedFd> = Vec::new();
        for message in ancillary.drain() {
            match message {
                RecvAncillaryMessage::ScmRights(received) => fds.extend(received),
                _ => panic!("something else than descriptors"),
            }
        }
        assert!(fds.len() <= 1, "{} descriptors with one message", fds.len());
        match result.bytes {
            0 => Ok(None),
            8 => Ok(Some((bytes, fds.pop()))),
            other => panic!("{other} bytes instead of a whole message"),
        }
    }

    pub fn receive(&self) -> Option<Received> {
        self.receive_bytes()
            .map(|(bytes, fd)| (i64::from_le_bytes(bytes), fd))
    }

    /// Whether there is nothing to read just now.
    pub fn is_silent(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).unwrap() == 0
    }

    pub fn send(&self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    pub fn socket(&self) -> &UnixStream {
        &self.0
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A client that has been greeted, and what it knows.
///
/// Keeps to the rule by which QEMU survives: of an ID that left, no word is said again.
#[derive(Debug)]
pub struct Peer {
    pub connection: Connection,
    pub id: u16,
    pub memory: OwnedFd,
    /// Its own eventfds.
    pub own: Vec<OwnedFd>,
    /// Eventfds of the others.
    pub others: BTreeMap<u16, Vec<OwnedFd>>,
    /// Those who left.
    gone: BTreeSet<u16>,
    vectors: usize,
}

/// What a client hears after it has been greeted.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// One more vector of this client.
    Vector(u16),
    Left(u16),
}

impl Peer {
    /// Connects to a server, of which is known how many vectors it gives to each client.
    pub fn join(path: &Path, vectors: usize) -> Self {
        let peer = Self::greeted(Connection::open(path), vectors);
        // As nobody else leaves meanwhile, nobody was told of in part.
        assert!(peer.others.values().all(|fds| fds.len() == vectors));
        peer
    }

    /// Reads the greeting, which ends with the client's own vectors.
    pub fn greeted(connection: Connection, vectors: usize) -> Self {
        let first = connection.receive();
        let first = first.expect("the server closed the connection");
        assert!(matches!(first, (0, None)), "no version");
        Self::welcomed(connection, vectors)
    }

    /// Reads the greeting but for the version, which was read.
    pub fn welcomed(connection: Connection, vectors: usize) -> Self {
        let next = || {
            connection
                .receive()
                .expect("the server closed the connection")
        };
        let (id, None) = next() else {
            panic!("a descriptor with the own ID");
        };
        let (-1, Some(memory)) = next() else {
            panic!("no shared memory");
        };
        let mut peer = Self {
            connection,
            id: u16::try_from(id).unwrap(),
            memory,
            own: Vec::new(),
            others: BTreeMap::new(),
            gone: BTreeSet::new(),
            vectors,
        };
        while peer.own.len() < vectors {
            peer.news();
        }
        peer
    }

    /// Waits for a message and does what it says.
    pub fn news(&mut self) -> News {
        let (id, fd) = self
            .connection
            .receive()
            .expect("the server closed the connection");
        let id = u16::try_from(id).unwrap();
        assert!(!self.gone.contains(&id), "{id} left, and comes again");
        match fd {
            Some(fd) if id == self.id => {
                assert!(self.own.len() < self.vectors, "too many own vectors");
                self.own.push(fd);
                News::Vector(id)
            }
            Some(fd) => {
                let fds = self.others.entry(id).or_default();
                assert!(fds.len() < self.vectors, "too many vectors of {id}");
                fds.push(fd);
                News::Vector(id)
            }
            None => {
                assert!(self.others.remove(&id).is_some(), "{id} was unknown");
                self.gone.insert(id);
                News::Left(id)
            }
        }
    }

    /// Reads until it knows all vectors of a client.
    pub fn wait_for(&mut self, id: u16) {
        while self.others.get(&id).map_or(0, Vec::len) < self.vectors {
            self.news();
        }
    }

    /// Rings each vector of another client, which must arrive there, and nowhere else.
    pub fn check_rings(&self, other: &Peer) {
        let fds = &self.others[&other.id];
        assert_eq!(fds.len(), other.own.len());
        for (vector, fd) in fds.iter().enumerate() {
            ring(fd, 1);
            assert_eq!(rung(&other.own[vector]), 1);
            assert!(other.own.iter().all(is_quiet));
        }
    }
}

/// Lets this process open as many files as it may; the usual limit is too low for hundreds of
/// clients and their server in one process.
pub fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

/// Adds to the counter of an eventfd.
pub fn ring(fd: &OwnedFd, count: u64) {
    assert_eq!(rustix::io::write(fd, &count.to_ne_bytes()), Ok(8));
}

/// Waits until an eventfd was rung and takes its counter.
pub fn rung(fd: &OwnedFd) -> u64 {
    let limit = Timespec::try_from(test_limit::limit()).unwrap();
    let ready = poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&limit));
    assert_eq!(ready, Ok(1), "the eventfd was not rung");
    let mut count = [0; 8];
    assert_eq!(rustix::io::read(fd, &mut count), Ok(8));
    u64::from_ne_bytes(count)
}

/// Whether an eventfd has not been rung.
pub fn is_quiet(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).unwrap() == 0
}
