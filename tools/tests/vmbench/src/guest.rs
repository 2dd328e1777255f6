// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A running guest.

use std::fmt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use vmbench_proto::{frame, Reply, Request};

use crate::board::{Board, Missed};
use crate::builder::Builder;
use crate::command::{Command, Output};
use crate::exit::{self, Exit, EXIT_LIMIT};
use crate::machine::{self, Machine};
use crate::nudge;
use crate::process::Child;
use crate::qmp::{Connection, Qmp};
use crate::splat::{self, Splat};
use crate::{sandbox, Error, Result};

/// The kernel's last words before it switches the machine off.
const POWER_DOWN: &str = "reboot: Power down";

/// A place in the kernel's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

impl Mark {
    /// Before the first line.
    pub const BOOT: Self = Self(0);
}

/// A running guest. Dropping it kills it and leaves nothing behind.
///
/// All methods can be called from several threads at once; each blocks only its caller.
pub struct Guest {
    name: String,
    process: Mutex<Child>,
    pid: u32,
    board: Arc<Board>,
    port: Arc<Mutex<UnixStream>>,
    monitor: Connection,
    next_id: AtomicU64,
    command_limit: Duration,
    answer_limit: Duration,
    time_scale: u32,
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guest({}, QEMU {})", self.name, self.pid)
    }
}

impl Guest {
    /// A description with all defaults, to be changed and booted.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn boot(builder: &Builder) -> Result<Self> {
        let time_scale = sandbox::time_scale()?;
        let answer_limit = builder.answer_limit * time_scale;
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
        agent
            .set_write_timeout(Some(answer_limit))
            .map_err(setup())?;
        board.read_agent(agent.try_clone().map_err(setup())?);
        let monitor = Connection::open(monitor)
            .map_err(|failure| exit::post_mortem(&builder.name, &mut process, &board, failure))?;
        let guest = Self {
            name: builder.name.clone(),
            pid: process.id(),
            process: Mutex::new(process),
            board,
            port: Arc::new(Mutex::new(agent)),
            monitor,
            next_id: AtomicU64::new(0),
            command_limit: builder.command_limit,
            answer_limit,
            time_scale,
        };
        nudge::start(&guest.board, &guest.port);
        guest.wait_for_agent(builder)?;
        Ok(guest)
    }

    fn wait_for_agent(&self, builder: &Builder) -> Result<()> {
        let limit = self.scaled(builder.boot_limit);
        self.board
            .wait(limit, |state| state.agent_ready.then_some(()))
            .map_err(|missed| self.missed(missed, "the boot".into(), limit))?;
        for (module, parameters) in &builder.modules {
            self.insert_module(module, parameters)?;
        }
        Ok(())
    }

    /// The guest's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// QEMU's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Describes a command: the program, looked up in the guest's `PATH`, and its arguments.
    pub fn command(&self, argv: impl IntoIterator<Item = impl Into<String>>) -> Command<'_> {
        Command::new(self, argv.into_iter().map(Into::into).collect())
    }

    /// Runs a command and blocks until it has ended. Its exit code is in the output; an error means that
    /// it could not be started or that the guest failed.
    pub fn run(&self, argv: impl IntoIterator<Item = impl Into<String>>) -> Result<Output> {
        self.command(argv).run()
    }

    /// As [`Guest::run`], with a script for the guest's shell.
    pub fn shell(&self, script: &str) -> Result<Output> {
        self.run(["sh", "-c", script])
    }

    /// All that the guest has written to its console, also if it is dead.
    pub fn console(&self) -> String {
        self.board.lock().console_text()
    }

    /// The kernel's log since boot, as far as its ring buffer still holds it.
    pub fn kernel_log(&self) -> Result<String> {
        self.kernel_log_since(Mark::BOOT).map(|(text, _)| text)
    }

    /// The end of the kernel's log as it is now.
    pub fn kernel_mark(&self) -> Result<Mark> {
        self.kernel_log_since(Mark(u64::MAX)).map(|(_, mark)| mark)
    }

    /// The reports of something wrong in the kernel's log since `mark`; see [`splat::find`].
    pub fn kernel_splats(&self, mark: Mark) -> Result<Vec<Splat>> {
        let (text, _) = self.kernel_log_since(mark)?;
        Ok(splat::find(&text))
    }

    /// The kernel's log since `mark`, and the mark to go on from.
    pub fn kernel_log_since(&self, Mark(since): Mark) -> Result<(String, Mark)> {
        let id = self.next_id();
        let request = Request::KernelLog { id, since };
        match self.call(id, &request, b"", "the kernel's log")? {
            (Reply::Log { next, .. }, text) => {
                Ok((String::from_utf8_lossy(&text).into_owned(), Mark(next)))
            }
            (other, _) => Err(self.refused(format!("unexpected answer {other:?}"))),
        }
    }

    /// Creates or replaces a file in the guest, and its parent directories.
    pub fn write_file(&self, path: &str, mode: u32, contents: &[u8]) -> Result<()> {
        let id = self.next_id();
        let request = Request::Write {
            id,
            path: path.into(),
            mode,
        };
        self.call(id, &request, contents, &format!("writing {path}"))
            .map(drop)
    }

    /// Reads a file in the guest.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        let id = self.next_id();
        let path = path.to_string();
        let what = format!("reading {path}");
        self.call(id, &Request::Read { id, path }, b"", &what)
            .map(|(_, contents)| contents)
    }

    /// Inserts a kernel module, a `.ko` or `.ko.xz` on the host, with parameters separated by spaces.
    pub fn insert_module(&self, host: &Path, parameters: &str) -> Result<()> {
        let contents = std::fs::read(host).map_err(Error::file(host))?;
        let name = host.file_name().unwrap_or_default().to_string_lossy();
        let path = format!("/tmp/{name}");
        self.write_file(&path, 0o600, &contents)?;
        let mut argv = vec!["insmod".to_string(), path.clone()];
        argv.extend(parameters.split_whitespace().map(str::to_string));
        let inserted = self.run(argv)?.check();
        self.run(["rm", &path])?.check()?;
        inserted.map(drop)
    }

    /// QEMU's machine protocol for this guest.
    pub fn qmp(&self) -> Qmp<'_> {
        Qmp::new(self)
    }

    /// Powers the guest off and blocks until QEMU has ended.
    ///
    /// A guest of q35 that has once been suspended to RAM does not get QEMU to power it off. So when the
    /// kernel has said that it is done, and QEMU still runs a little later, QEMU is told to quit.
    pub fn poweroff(self) -> Result<()> {
        self.send(&Request::PowerOff, b"")?;
        let done = self.board.wait(self.answer_limit, |state| {
            state.console_text().contains(POWER_DOWN).then_some(())
        });
        if done.is_ok() && self.wait_exit(EXIT_LIMIT).is_err() {
            self.qmp().execute("quit", serde_json::json!({}))?;
        }
        match self.wait_exit(self.answer_limit)? {
            Exit::PowerOff => Ok(()),
            Exit::Panic(line) => Err(Error::Panic {
                guest: self.name.clone(),
                line,
                log: self.console(),
            }),
            Exit::Other(reason) => Err(self.gone(reason)),
        }
    }

    /// Blocks until QEMU has ended by itself, for example because a command made the kernel panic.
    pub fn wait_exit(&self, limit: Duration) -> Result<Exit> {
        let mut process = self.process.lock().unwrap_or_else(|p| p.into_inner());
        match process.wait(limit).map_err(Error::io("cannot wait"))? {
            Some(status) => Ok(exit::classify(status, &self.board)),
            None => Err(Error::NoAnswer {
                guest: self.name.clone(),
                what: "the guest's end".into(),
                limit,
                log: self.console(),
            }),
        }
    }

    pub(crate) fn monitor(&self) -> &Connection {
        &self.monitor
    }

    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    /// A time limit, made longer for a guest that is slow.
    pub(crate) fn scaled(&self, limit: Duration) -> Duration {
        limit * self.time_scale
    }

    pub(crate) fn time_scale(&self) -> u32 {
        self.time_scale
    }

    pub(crate) fn command_limit(&self) -> Duration {
        self.command_limit
    }

    pub(crate) fn answer_limit(&self) -> Duration {
        self.answer_limit
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request without waiting for its answer.
    pub(crate) fn send(&self, request: &Request, payload: &[u8]) -> Result<()> {
        let mut port = self.port.lock().unwrap_or_else(|p| p.into_inner());
        frame::write(&mut *port, request, payload).map_err(|error| {
            let missed = match error.kind() {
                std::io::ErrorKind::WouldBlock => Missed::TimedOut,
                _ => Missed::Closed,
            };
            self.missed(missed, "taking a request".into(), self.answer_limit)
        })
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call(
        &self,
        id: u64,
        request: &Request,
        payload: &[u8],
        what: &str,
    ) -> Result<(Reply, Vec<u8>)> {
        self.send(request, payload)?;
        let answer = self
            .board
            .wait(self.answer_limit, |state| state.replies.remove(&id));
        match answer {
            Ok((Reply::Failed { message, .. }, _)) => Err(self.refused(message)),
            Ok(answer) => Ok(answer),
            Err(missed) => Err(self.missed(missed, what.into(), self.answer_limit)),
        }
    }

    pub(crate) fn refused(&self, message: String) -> Error {
        Error::Refused {
            guest: self.name.clone(),
            message,
        }
    }

    fn gone(&self, reason: String) -> Error {
        Error::Gone {
            guest: self.name.clone(),
            reason,
            log: self.console(),
        }
    }

    /// Finds out why a wait failed.
    pub(crate) fn missed(&self, missed: Missed, what: String, limit: Duration) -> Error {
        let exit = match missed {
            Missed::Closed => self.wait_exit(EXIT_LIMIT).ok(),
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
                None => Error::NoAnswer {
                    guest,
                    what,
                    limit,
                    log,
                },
            },
        }
    }
}
