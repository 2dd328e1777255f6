// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the host holds of a running guest: QEMU, its monitor, the agent's port, and all that they have said.
//! Commands, the monitor's users and the guest's own methods are built on it.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vmbench_proto::{frame, Reply, Request};

use crate::board::{Board, Missed, State};
use crate::builder::{Builder, DEFAULT_LIMIT};
use crate::exit::{self, Exit};
use crate::machine::{self, Machine};
use crate::monitor::Connection;
use crate::nudge;
use crate::process::Child;
use crate::{Error, Result};

/// A running QEMU and the ways to speak with it and with the guest's agent. Dropping it kills QEMU.
pub(crate) struct Session {
    name: String,
    process: Mutex<Child>,
    pid: u32,
    board: Arc<Board>,
    port: Arc<Mutex<UnixStream>>,
    monitor: Connection,
    next_id: AtomicU64,
    /// The guest's time limit, scaled.
    limit: Duration,
    scale: u32,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guest({}, QEMU {})", self.name, self.pid)
    }
}

impl Session {
    /// Starts QEMU and blocks until the agent answers.
    pub fn start(builder: &Builder) -> Result<Self> {
        let session = Self::open(builder)?;
        let boot = DEFAULT_LIMIT * session.scale;
        session
            .board
            .wait(boot, |state| state.agent_ready.then_some(()))
            .map_err(|missed| session.missed_within(boot, missed, "the boot".into()))?;
        Ok(session)
    }

    /// Starts a QEMU into which the guest of `from` can be moved: its agent is ready and says so to nobody again.
    pub fn start_for(from: &Self, builder: &Builder) -> Result<Self> {
        let session = Self::start_as(from, builder)?;
        session.board.lock().agent_ready = true;
        Ok(session)
    }

    /// Starts a QEMU in which the guest of `from` will go on. Before it does nobody speaks to its agent.
    pub fn start_as(from: &Self, builder: &Builder) -> Result<Self> {
        let session = Self::open(builder)?;
        // The agent goes on with what it was told before: its answers must not be taken for others.
        session.next_id.store(from.next_id(), Ordering::Relaxed);
        Ok(session)
    }

    /// Blocks until the guest of before goes on, which it says on its console by `sign`.
    pub fn wait_for_agent(&self, sign: &str) -> Result<()> {
        let goes_on = |state: &mut State| state.console_text().contains(sign).then_some(());
        let limit = DEFAULT_LIMIT * self.scale;
        let waited = self.board.wait(limit, goes_on);
        waited.map_err(|missed| self.missed_within(limit, missed, "going on".into()))?;
        self.board.lock().agent_ready = true;
        Ok(())
    }

    /// Starts QEMU and opens its monitor.
    fn open(builder: &Builder) -> Result<Self> {
        let scale = test_limit::scale().map_err(Error::Setup)?;
        let limit = builder.limit * scale;
        let Machine {
            mut process,
            console,
            monitor,
            agent,
        } = machine::start(builder)?;
        let board = Arc::new(Board::default());
        board.read_console(console);
        if let Some(stderr) = process.take_stderr() {
            board.read_complaints(stderr);
        }
        let setup = || Error::io("cannot use a socket");
        agent.set_write_timeout(Some(limit)).map_err(setup())?;
        board.read_agent(agent.try_clone().map_err(setup())?);
        let monitor = Connection::open(monitor, limit).map_err(|failure| {
            exit::post_mortem(&builder.name, &mut process, &board, failure, limit)
        })?;
        let session = Self {
            name: builder.name.clone(),
            pid: process.id(),
            process: Mutex::new(process),
            board,
            port: Arc::new(Mutex::new(agent)),
            monitor,
            next_id: AtomicU64::new(0),
            limit,
            scale,
        };
        nudge::start(&session.board, &session.port);
        Ok(session)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// All that the guest has written to its console, also if it is dead.
    pub fn console(&self) -> String {
        self.board.lock().console_text()
    }

    /// Blocks until QEMU has ended.
    pub fn wait_exit(&self) -> Result<Exit> {
        let mut process = self.process.lock().unwrap_or_else(|p| p.into_inner());
        match process.wait(self.limit).map_err(Error::io("cannot wait"))? {
            Some(status) => Ok(exit::classify(status, &self.board, self.limit)),
            None => Err(self.no_answer("the guest's end".into(), self.limit)),
        }
    }

    pub fn monitor(&self) -> &Connection {
        &self.monitor
    }

    pub fn board(&self) -> &Board {
        &self.board
    }

    /// How long the guest may be silent when something is expected of it.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// What time limits are multiplied with, in this guest as on the host.
    pub fn scale(&self) -> u32 {
        self.scale
    }

    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request without waiting for its answer.
    pub fn send(&self, request: &Request, payload: &[u8]) -> Result<()> {
        let mut port = self.port.lock().unwrap_or_else(|p| p.into_inner());
        frame::write(&mut *port, request, payload).map_err(|error| {
            let missed = match error.kind() {
                std::io::ErrorKind::WouldBlock => Missed::TimedOut,
                _ => Missed::Closed,
            };
            self.missed(missed, "taking a request".into())
        })
    }

    /// Sends a request and waits for its answer.
    pub fn call(
        &self,
        id: u64,
        request: &Request,
        payload: &[u8],
        what: &str,
    ) -> Result<(Reply, Vec<u8>)> {
        self.send(request, payload)?;
        let answer = self
            .board
            .wait(self.limit, |state| state.replies.remove(&id));
        match answer {
            Ok((Reply::Failed { message, .. }, _)) => Err(self.refused(message)),
            Ok(answer) => Ok(answer),
            Err(missed) => Err(self.missed(missed, what.into())),
        }
    }

    pub fn refused(&self, message: String) -> Error {
        Error::Refused {
            guest: self.name.clone(),
            message,
        }
    }

    pub fn gone(&self, reason: String) -> Error {
        Error::Gone {
            guest: self.name.clone(),
            reason,
            log: self.console(),
        }
    }

    fn no_answer(&self, what: String, limit: Duration) -> Error {
        Error::NoAnswer {
            guest: self.name.clone(),
            what,
            limit,
            log: self.console(),
        }
    }

    /// Finds out why a wait for `what` failed, which had the guest's limit.
    pub fn missed(&self, missed: Missed, what: String) -> Error {
        self.missed_within(self.limit, missed, what)
    }

    /// The same for a wait with another limit.
    pub fn missed_within(&self, limit: Duration, missed: Missed, what: String) -> Error {
        let exit = match missed {
            Missed::Closed => self.wait_exit().ok(),
            Missed::TimedOut => None,
        };
        let log = self.console();
        let guest = self.name.clone();
        match exit {
            Some(Exit::Panic(line)) => Error::Panic { guest, line, log },
            Some(Exit::Other(reason)) => Error::Gone { guest, reason, log },
            Some(Exit::PowerOff) => self.gone(format!("it powered off during {what}")),
            None => match exit::panic_line(&log) {
                Some(line) => Error::Panic { guest, line, log },
                None => self.no_answer(what, limit),
            },
        }
    }
}
