// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What is known of a guest: its reader threads write it here, and whoever waits is woken.

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use vmbench_proto::{frame, Reply, Status, Stream};

/// Output of a command so far, and how it ended.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub status: Option<Status>,
    /// Why the command could not be started.
    pub failure: Option<String>,
}

/// All that the guest has said.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub console: Vec<u8>,
    pub console_closed: bool,
    /// What QEMU wrote to its standard error.
    pub complaints: Vec<u8>,
    pub complaints_closed: bool,
    pub agent_ready: bool,
    pub agent_closed: bool,
    /// Callers that wait for the agent right now.
    pub waiting: usize,
    /// Answers by request, until they are fetched.
    pub replies: HashMap<u64, (Reply, Vec<u8>)>,
    /// Commands that somebody here still holds.
    pub commands: HashMap<u64, Progress>,
}

/// Why a wait ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missed {
    /// The agent's port is closed: the guest will not say more.
    Closed,
    /// The time is over.
    TimedOut,
}

/// The state with its lock and its bell.
#[derive(Debug, Default)]
pub(crate) struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

impl Board {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // Every update leaves the state whole, even if its thread should panic later.
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Blocks until `probe` finds something, the agent is gone, or the time is over.
    pub fn wait<T>(
        &self,
        limit: Duration,
        mut probe: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, Missed> {
        self.lock().waiting += 1;
        let found = self.wait_until(limit, |state| match probe(state) {
            Some(found) => Some(Ok(found)),
            None => state.agent_closed.then_some(Err(Missed::Closed)),
        });
        self.lock().waiting -= 1;
        found.unwrap_or(Err(Missed::TimedOut))
    }

    /// Blocks until everything that a dead QEMU has said is here.
    pub fn wait_for_last_words(&self, limit: Duration) {
        self.wait_until(limit, |state| {
            (state.console_closed && state.complaints_closed).then_some(())
        });
    }

    /// Tries `probe` after each change until it finds something or the time is over.
    fn wait_until<T>(
        &self,
        limit: Duration,
        mut probe: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        loop {
            if let Some(found) = probe(&mut state) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Reads the guest's console to its end, in a thread.
    pub fn read_console(self: &Arc<Self>, console: UnixStream) {
        let board = Arc::clone(self);
        thread::spawn(move || {
            read_all(console, |chunk| {
                // The serial line sends CR LF.
                let text = chunk.iter().filter(|byte| **byte != b'\r');
                board.update(|state| state.console.extend(text));
            });
            board.update(|state| state.console_closed = true);
        });
    }

    /// Reads QEMU's standard error to its end, in a thread.
    pub fn read_complaints(self: &Arc<Self>, pipe: impl Read + Send + 'static) {
        let board = Arc::clone(self);
        thread::spawn(move || {
            read_all(pipe, |chunk| {
                board.update(|state| state.complaints.extend_from_slice(chunk));
            });
            board.update(|state| state.complaints_closed = true);
        });
    }

    /// Reads the agent's messages to their end, in a thread.
    pub fn read_agent(self: &Arc<Self>, port: UnixStream) {
        let board = Arc::clone(self);
        thread::spawn(move || {
            let mut port = BufReader::new(port);
            while let Ok(Some((reply, payload))) = frame::read(&mut port) {
                board.update(|state| state.take(reply, payload));
            }
            board.update(|state| state.agent_closed = true);
        });
    }
}

impl State {
    fn take(&mut self, reply: Reply, payload: Vec<u8>) {
        match reply {
            Reply::Ready => self.agent_ready = true,
            Reply::Output { id, stream } => {
                if let Some(progress) = self.commands.get_mut(&id) {
                    progress.stream_mut(stream).extend_from_slice(&payload);
                }
            }
            Reply::Exited { id, status } => {
                if let Some(progress) = self.commands.get_mut(&id) {
                    progress.status = Some(status);
                }
            }
            Reply::Failed { id, message } if self.commands.contains_key(&id) => {
                self.commands.entry(id).or_default().failure = Some(message);
            }
            Reply::Done { id } | Reply::Log { id, .. } | Reply::Failed { id, .. } => {
                self.replies.insert(id, (reply, payload));
            }
        }
    }

    pub fn console_text(&self) -> String {
        String::from_utf8_lossy(&self.console).into_owned()
    }
}

impl Progress {
    pub fn stream(&self, stream: Stream) -> &[u8] {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    fn stream_mut(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Whether nothing more will come.
    pub fn is_over(&self) -> bool {
        self.status.is_some() || self.failure.is_some()
    }
}

fn read_all(mut source: impl Read, mut sink: impl FnMut(&[u8])) {
    let mut chunk = [0; 4096];
    while let Ok(len @ 1..) = source.read(&mut chunk) {
        sink(&chunk[..len]);
    }
}
