// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A peer: joins, maps, rings, is rung.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ivshmem::{
    forward_memory, poll_word, Access, Bell, Doorbell, Error, Locking, Mapping, Memory, Process,
    Result, Waiter, MAX_PEER, MAX_RING_VECTOR, POLL_INTERVAL,
};
use ivshmem_protocol::{Event, PeerId};
use nix::sys::signal::{SigSet, SigmaskHow};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::fs::{fcntl_get_seals, fcntl_getfl, fstat, OFlags, SealFlags};
use rustix::io::Errno;

use crate::board::{timespec, Board};
use crate::connection::{connect, Connection, Failure};
use crate::eventfd::Eventfd;
use crate::listener;
use crate::state::{Members, Server, State};
use crate::JoinError;

/// How long a server may take to greet if nothing else is said.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(10);

/// How long after joining the last of our vectors may come, which the protocol does not tell from others.
const ARRIVAL: Duration = Duration::from_secs(1);

/// How to join.
#[derive(Clone, Debug)]
pub struct Options {
    patience: Duration,
    vectors: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            patience: DEFAULT_PATIENCE,
            vectors: 1,
        }
    }
}

impl Options {
    /// How long the server may take to accept and to greet. Default: [`DEFAULT_PATIENCE`].
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Joining is complete when this many of our own vectors have arrived; the protocol does not tell how
    /// many there will be. Default: 1. 0 for servers without interrupts: then [`Waiter::wait_word`] looks at the word
    /// once in a millisecond.
    pub fn vectors(mut self, vectors: u32) -> Self {
        self.vectors = vectors;
        self
    }

    /// Connects to the server that listens at `path`, and blocks until the greeting is complete.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn join(&self, path: impl AsRef<Path>) -> Result<Peer, JoinError> {
        let begin = Instant::now();
        let path = path.as_ref();
        let left = || self.patience.saturating_sub(begin.elapsed());
        let socket = connect(path, left).map_err(|errno| match errno {
            Errno::AGAIN => JoinError::NoAnswer(self.patience),
            errno => JoinError::Connect {
                path: path.into(),
                source: errno.into(),
            },
        })?;
        self.be_greeted(socket, left)
    }

    /// As [`join`](Self::join), over a socket that is connected to a server, from which nothing has been
    /// read.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn join_over(&self, socket: UnixStream) -> Result<Peer, JoinError> {
        let begin = Instant::now();
        self.be_greeted(socket, || self.patience.saturating_sub(begin.elapsed()))
    }

    fn be_greeted(
        &self,
        socket: UnixStream,
        left: impl Fn() -> Duration,
    ) -> Result<Peer, JoinError> {
        let mut connection = Connection::new(socket);
        let (id, memory) = greeting(&mut connection, &left).map_err(|error| self.explain(error))?;
        let peer = Peer::start(id, memory, connection)?;
        let arrived = peer.board.wait(Some(left()), |state| match &state.server {
            _ if state.own.len() >= self.vectors as usize => Some(Ok(())),
            Server::Lost(reason) => Some(Err(JoinError::Lost(reason.clone()))),
            Server::Connected => None,
        });
        arrived.unwrap_or(Err(JoinError::NoAnswer(self.patience)))?;
        Ok(peer)
    }

    fn explain(&self, error: Greeting) -> JoinError {
        match error {
            Greeting::Late => JoinError::NoAnswer(self.patience),
            Greeting::Failed(Failure::Protocol(error)) => error.into(),
            Greeting::Failed(Failure::Closed) => {
                ivshmem_protocol::DecodeError::ClosedInHandshake.into()
            }
            Greeting::Failed(Failure::Io(error)) => {
                JoinError::io("cannot read from the server")(error)
            }
        }
    }
}

/// Why there was no greeting.
enum Greeting {
    Late,
    Failed(Failure),
}

/// Reads up to the memory, which comes after the ID.
fn greeting(
    connection: &mut Connection,
    left: impl Fn() -> Duration,
) -> Result<(PeerId, OwnedFd), Greeting> {
    let mut own = None;
    loop {
        match connection.receive().map_err(Greeting::Failed)? {
            Some(Event::OwnId(id)) => own = Some(id),
            Some(Event::SharedMemory(memory)) => {
                let id = own.expect("the decoder lets the memory through only after the ID");
                return Ok((id, memory));
            }
            Some(_) => {}
            None => wait_readable(connection, left())?,
        }
    }
}

fn wait_readable(connection: &Connection, left: Duration) -> Result<(), Greeting> {
    let limit = timespec(left);
    let mut fds = [PollFd::from_borrowed_fd(connection.as_fd(), PollFlags::IN)];
    match poll(&mut fds, Some(&limit)) {
        Ok(0) => Err(Greeting::Late),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(Greeting::Failed(Failure::Io(error.into()))),
    }
}

/// A host process's end: memory and doorbells, as an [`Endpoint`](ivshmem::Endpoint) is in a guest.
///
/// A thread of its own reads what the server says. A ring wakes each [`Bell`], and one of the threads that wait
/// for rings, which wakes the others; [`Waiter::wait`] gives each ring to one of them; a vector that has not come a second after
/// joining is one that there is not. Waits are not interrupted by signals, and
/// that thread has all of them blocked. Dropping it leaves, but for the copy of a child that was forked, which is of no other use.
#[derive(Debug)]
pub struct Peer {
    id: u32,
    mapping: Mapping,
    interval: Duration,
    read_only: bool,
    memory: OwnedFd,
    sealed: bool,
    board: Arc<Board>,
    /// When it has joined.
    joined: Instant,
    listener: Option<JoinHandle<()>>,
    /// Ends the listener.
    stop: Eventfd,
    /// That of the listener.
    process: Process,
}

impl Peer {
    /// Connects to the server that listens at `path`, and blocks until the greeting is complete.
    ///
    /// # Errors
    ///
    /// [`JoinError`].
    pub fn join(path: impl AsRef<Path>) -> Result<Self, JoinError> {
        Options::default().join(path)
    }

    fn start(id: PeerId, memory: OwnedFd, connection: Connection) -> Result<Self, JoinError> {
        let access = access_of(&memory)?;
        let mapping = map(&memory, access)?;
        let no_eventfd = "cannot make an eventfd";
        let stop = Eventfd::new().map_err(JoinError::io(no_eventfd))?;
        let board = Arc::new(Board::new().map_err(JoinError::io(no_eventfd))?);
        let listener = {
            let (board, stop) = (Arc::clone(&board), stop.clone());
            without_signals(|| {
                std::thread::Builder::new()
                    .name("ivshmem-peer".into())
                    .spawn(move || listener::run(connection, &board, &stop))
            })
            .map_err(JoinError::io("cannot start a thread"))?
        };
        Ok(Self {
            id: id.get().into(),
            mapping,
            interval: POLL_INTERVAL,
            read_only: access == Access::ReadOnly,
            sealed: fcntl_get_seals(&memory).is_ok_and(|seals| seals.contains(SealFlags::SHRINK)),
            memory,
            board,
            joined: Instant::now(),
            listener: Some(listener),
            stop,
            process: Process::this(),
        })
    }

    /// Looks at what is waited for in each `interval`, instead of in each millisecond, if the server gave no vectors. Zero
    /// is no pause, and keeps a processor busy.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// The memory.
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Whether the server gave us the memory to read only. Whatever would write to it gives
    /// [`AccessError::ReadOnly`](ivshmem::AccessError::ReadOnly) then; doorbells work.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether nobody can shrink the memory, which would raise SIGBUS here.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Who is there, as far as the server has told. Does not block.
    pub fn members(&self) -> Members {
        self.board.look(State::members)
    }

    /// Blocks until the members are of another version than `version`, or the time is over; `None` waits for
    /// ever. Returns who is there then.
    pub fn wait_members(&self, version: u64, timeout: Option<Duration>) -> Members {
        self.board
            .wait(timeout, |state| {
                (state.version != version).then(|| state.members())
            })
            .unwrap_or_else(|| self.members())
    }

    /// How it stands with the server. Does not block.
    pub fn server(&self) -> Server {
        self.board.look(|state| state.server.clone())
    }

    /// Rings since we joined of our vector `vector`, at least; `None` if it is not ours. Waits do not change
    /// it.
    pub fn rings(&self, vector: u32) -> Option<u64> {
        let vector = usize::try_from(vector).ok()?;
        self.board.take(vector);
        self.board.look(|state| Some(state.own.get(vector)?.rings))
    }

    /// Rings as [`Doorbell::ring`] does, and returns whether there is such a peer and vector.
    ///
    /// # Errors
    ///
    /// As [`Doorbell::ring`].
    pub fn try_ring(&self, peer: u32, vector: u32) -> Result<bool> {
        if peer > MAX_PEER || vector > MAX_RING_VECTOR {
            return Err(Error::Argument(format!(
                "vector {vector} of peer {peer} is above the highest ones, {MAX_RING_VECTOR} of {MAX_PEER}"
            )));
        }
        let Some(eventfd) = self.doorbell(peer, vector) else {
            return Ok(false);
        };
        // Everything written to the memory comes before the system call's own effect.
        self.mapping.fence();
        eventfd
            .ring()
            .map_err(|error| Error::io(error, "cannot write to a doorbell"))?;
        Ok(true)
    }

    /// Blocks until our vector `vector` is there; `false` if the time is over before it is known whether it comes.
    fn await_vector(&self, vector: usize, timeout: Option<Duration>) -> Result<bool> {
        let arrival = ARRIVAL.saturating_sub(self.joined.elapsed());
        let limit = timeout.map_or(arrival, |limit| limit.min(arrival));
        let there = |state: &State| (state.own.len() > vector).then_some(());
        match self.board.wait(Some(limit), there) {
            Some(()) => Ok(true),
            None if limit < arrival => Ok(false),
            None => Err(no_vector(vector, self.board.look(|state| state.own.len()))),
        }
    }

    fn doorbell(&self, peer: u32, vector: u32) -> Option<Eventfd> {
        let vector = usize::try_from(vector).ok()?;
        self.board.look(|state| {
            let eventfd = match peer == self.id {
                true => &state.own.get(vector)?.eventfd,
                false => state.others.get(&peer)?.get(vector)?,
            };
            Some(eventfd.clone())
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if !self.process.is_this() {
            // There is no such thread here, and the eventfd is the parent's.
            std::mem::forget(self.listener.take());
            return;
        }
        let rung = self.stop.ring();
        debug_assert!(rung.is_ok(), "{rung:?}");
        if let Some(listener) = self.listener.take() {
            // It does not panic; if it did, there is nobody to tell.
            let _ = listener.join();
        }
    }
}

/// Makes a thread that has all signals blocked: a program's handlers run in its own threads.
fn without_signals<T>(make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let made = make();
    before.thread_set_mask()?;
    made
}

/// What may be done with the memory, which a server can give to read only.
fn access_of(memory: &OwnedFd) -> Result<Access, JoinError> {
    let flags = fcntl_getfl(memory).map_err(JoinError::io("cannot ask how the memory is open"))?;
    Ok(match flags & OFlags::RWMODE {
        OFlags::RDONLY => Access::ReadOnly,
        _ => Access::ReadWrite,
    })
}

fn map(memory: &OwnedFd, access: Access) -> Result<Mapping, JoinError> {
    let size = fstat(memory)
        .map_err(JoinError::io("cannot ask for the size of the memory"))?
        .st_size;
    let bad = || JoinError::MemorySize(u64::try_from(size).unwrap_or(0));
    let page = rustix::param::page_size();
    let len = usize::try_from(size)
        .ok()
        .filter(|len| *len > 0 && len % page == 0);
    Ok(Mapping::of(memory, 0, len.ok_or_else(bad)?, access)?)
}

forward_memory!({} Peer, Peer::mapping);

impl Doorbell for Peer {
    fn peer_id(&self) -> u32 {
        self.id
    }

    fn vectors(&self) -> u32 {
        let count = self.board.look(|state| state.own.len());
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn ring(&self, peer: u32, vector: u32) -> Result<()> {
        self.try_ring(peer, vector).map(|_| ())
    }

    fn lock(&self, number: u64) -> Locking {
        Locking::of(&self.memory, number)
    }
}

fn cannot_wait(error: Errno) -> Error {
    Error::io(error, "cannot wait for doorbells")
}

/// Why there is no vector `vector` among so many.
fn no_vector(vector: impl Display, vectors: usize) -> Error {
    match vectors {
        0 => Error::NoDoorbell,
        _ => Error::Argument(format!(
            "there is no vector {vector}: take one below {vectors}"
        )),
    }
}

/// The number of our vector `vector`, its doorbell, and what is added to when that was taken from.
fn heard_by_bells(state: &mut State, vector: u32) -> Result<(usize, Arc<OwnedFd>, Arc<OwnedFd>)> {
    let vectors = state.own.len();
    let at = usize::try_from(vector).ok().filter(|at| *at < vectors);
    let at = at.ok_or_else(|| no_vector(vector, vectors))?;
    let own = &mut state.own[at];
    let taken = match &own.taken {
        Some(taken) => Arc::clone(taken),
        None => {
            let new = Eventfd::new();
            let new = new.map_err(|error| Error::io(error, "cannot make an eventfd"))?;
            Arc::clone(own.taken.insert(new.descriptor()))
        }
    };
    Ok((at, own.eventfd.descriptor(), taken))
}

impl Waiter for Peer {
    fn interval(&self) -> Duration {
        self.interval
    }

    fn wait(&self, vectors: u64, timeout: Option<Duration>) -> Result<u64> {
        let begin = Instant::now();
        // Of all vectors, which 0 stands for, there has to be one.
        let highest = vectors.checked_ilog2().unwrap_or(0) as usize;
        if !self.await_vector(highest, timeout)? {
            return Ok(0);
        }
        let left = timeout.map(|limit| limit.saturating_sub(begin.elapsed()));
        let pending = self
            .board
            .wait_rung(left, |state| Some(state.take(vectors)).filter(|p| *p != 0));
        Ok(pending.map_err(cannot_wait)?.unwrap_or(0))
    }

    fn wait_word(&self, offset: u64, value: u32, timeout: Option<Duration>) -> Result<bool> {
        if self.vectors() == 0 {
            return poll_word(&self.mapping, offset, value, timeout, self.interval, || {
                Ok(())
            });
        }
        let differs = self.board.wait_rung(timeout, |_| {
            match self.mapping.load32(offset, Ordering::Acquire) {
                Ok(word) if word == value => None,
                Ok(_) => Some(Ok(true)),
                Err(error) => Some(Err(error.into())),
            }
        });
        differs.map_err(cannot_wait)?.unwrap_or(Ok(false))
    }

    fn bell(&self, vector: u32) -> Result<Bell> {
        let heard = self.board.update(|state| heard_by_bells(state, vector));
        let (at, doorbell, taken) = heard?;
        let board = Arc::clone(&self.board);
        Bell::of_shared(doorbell, taken, move || board.take(at))
    }
}
