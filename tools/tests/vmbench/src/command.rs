// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Commands in a guest.

use std::time::Duration;

use rustix::process::Signal;
use vmbench_proto::{Request, Status, Stream};

use crate::board::{Missed, Progress};
use crate::session::Session;
use crate::{Error, Result};

/// What a command left.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: Status,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// The guest's name and the command, for messages.
    title: String,
}

impl Output {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.status == Status::Code(0)
    }

    /// Standard output as text, without white space at its end.
    pub fn stdout_text(&self) -> String {
        text(&self.stdout)
    }

    /// Standard error as text, without white space at its end.
    pub fn stderr_text(&self) -> String {
        text(&self.stderr)
    }

    /// The output if the command exited with 0, else an error that shows it.
    pub fn check(self) -> Result<Self> {
        if self.success() {
            return Ok(self);
        }
        let how = match self.status {
            Status::Code(code) => format!("exit code {code}"),
            Status::Signal(signal) => format!("ended by signal {signal}"),
            Status::TimedOut => "killed, as it had gone silent".into(),
        };
        Err(Error::Command(format!(
            "{}: {how}\n--- its output\n{}\n--- its errors\n{}\n---",
            self.title,
            self.stdout_text(),
            self.stderr_text(),
        )))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_string()
}

/// A command to be run in a guest; see [`Guest::command`](crate::Guest::command).
#[derive(Clone, Debug)]
#[must_use = "nothing runs before `run` or `spawn`"]
pub struct Command<'a> {
    session: &'a Session,
    argv: Vec<String>,
    env: Vec<(String, String)>,
    cwd: String,
    stdin: Vec<u8>,
    limit: Duration,
}

impl<'a> Command<'a> {
    pub(crate) fn new(session: &'a Session, argv: Vec<String>) -> Self {
        Self {
            session,
            argv,
            env: vec![(
                test_limit::SCALE_VARIABLE.into(),
                session.scale().to_string(),
            )],
            cwd: "/".into(),
            stdin: Vec::new(),
            limit: session.limit(),
        }
    }

    /// Adds an environment variable.
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// The working directory. Default: `/`.
    pub fn cwd(mut self, path: impl Into<String>) -> Self {
        self.cwd = path.into();
        self
    }

    /// All of its standard input. Default: none.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The agent kills the command and its children when they have written nothing for this time, multiplied
    /// by `IVSHMEM_TIME_SCALE`. Default: the guest's [`limit`](crate::Builder::limit).
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit * self.session.scale();
        self
    }

    /// Runs the command and blocks until it has ended.
    pub fn run(self) -> Result<Output> {
        self.spawn()?.wait()
    }

    /// Starts the command and returns at once. That it cannot be started is told by the first wait.
    pub fn spawn(self) -> Result<Running<'a>> {
        let id = self.session.next_id();
        self.session
            .board()
            .lock()
            .commands
            .insert(id, Progress::default());
        let running = Running {
            session: self.session,
            id,
            title: self.argv.join(" "),
            // The agent's turn, and then as long again as an answer may take.
            limit: self.limit + self.session.limit(),
            matched: [0; 2],
        };
        let request = Request::Run {
            id,
            argv: self.argv,
            env: self.env,
            cwd: self.cwd,
            limit_ms: u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX),
        };
        self.session.send(&request, &self.stdin)?;
        Ok(running)
    }
}

/// A command that has been started. If it is dropped, the command runs on, unheard.
#[derive(Debug)]
pub struct Running<'a> {
    session: &'a Session,
    id: u64,
    title: String,
    /// How long a guest that tells nothing of the command counts as well.
    limit: Duration,
    /// Up to where the earlier matches reach, in standard output and standard error.
    matched: [usize; 2],
}

impl Running<'_> {
    /// Blocks until the command has written `pattern` to standard output or standard error, and returns
    /// the line with it as far as it has come. The next call searches after this match.
    ///
    /// It is an error if the command ends before, also by its limit, or if it goes on writing something else.
    pub fn wait_for_output(&mut self, pattern: &str) -> Result<String> {
        let matched = self.matched;
        let found = self.watch(|progress| {
            let found = find(progress, matched, pattern.as_bytes());
            match found {
                Some(found) => Some(Some(found)),
                None => progress.is_over().then_some(None),
            }
        });
        let what = || format!("{}: no \"{pattern}\" in its output", self.title);
        match found {
            Ok(Some((matched, line))) => {
                self.matched = matched;
                Ok(line)
            }
            Ok(None) => {
                let output = self.wait_mut()?;
                Err(Error::Command(format!(
                    "{}: it ended ({:?}) without \"{pattern}\"\n--- its output\n{}\n--- its errors\n{}\n---",
                    output.title,
                    output.status,
                    output.stdout_text(),
                    output.stderr_text(),
                )))
            }
            Err(missed) => Err(self.session.missed_within(self.limit, missed, what())),
        }
    }

    /// Sends a signal to the command and all processes of its group.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.session.next_id();
        let request = Request::Signal {
            id,
            command: self.id,
            signal: signal.as_raw(),
        };
        let what = format!("signal {signal:?} to {}", self.title);
        self.session.call(id, &request, b"", &what).map(drop)
    }

    /// Whether the command has ended, as far as the guest has told. Does not block.
    pub fn has_ended(&self) -> bool {
        let state = self.session.board().lock();
        let progress = state.commands.get(&self.id);
        progress.is_none_or(Progress::is_over)
    }

    /// Blocks until the command has ended.
    pub fn wait(mut self) -> Result<Output> {
        self.wait_mut()
    }

    /// As [`Running::wait`], and hands each new piece of output to `sink` as it comes.
    pub fn wait_with(mut self, mut sink: impl FnMut(Stream, &[u8])) -> Result<Output> {
        let mut seen = [0; 2];
        loop {
            let (chunks, over) = self.next_chunks(&mut seen)?;
            for (stream, chunk) in chunks {
                sink(stream, &chunk);
            }
            if over {
                return self.wait_mut();
            }
        }
    }

    fn next_chunks(&self, seen: &mut [usize; 2]) -> Result<(Vec<Chunk>, bool)> {
        let found = self.watch(|progress| {
            let mut chunks = Vec::new();
            for (stream, seen) in [Stream::Stdout, Stream::Stderr].into_iter().zip(&mut *seen) {
                let bytes = progress.stream(stream);
                if bytes.len() > *seen {
                    chunks.push((stream, bytes[*seen..].to_vec()));
                    *seen = bytes.len();
                }
            }
            let over = progress.is_over();
            (over || !chunks.is_empty()).then_some((chunks, over))
        });
        found.map_err(|missed| self.hung(missed))
    }

    /// As long as the command writes something, this blocks.
    fn wait_mut(&mut self) -> Result<Output> {
        let mut heard = 0;
        let progress = loop {
            let news = self.watch(|progress| {
                let bytes = progress.stdout.len() + progress.stderr.len();
                match progress.is_over() {
                    true => Some(Some(std::mem::take(progress))),
                    false if bytes > heard => {
                        heard = bytes;
                        Some(None)
                    }
                    false => None,
                }
            });
            if let Some(progress) = news.map_err(|missed| self.hung(missed))? {
                break progress;
            }
        };
        match (progress.status, progress.failure) {
            (Some(status), _) => Ok(Output {
                status,
                stdout: progress.stdout,
                stderr: progress.stderr,
                title: format!("guest {}: {}", self.session.name(), self.title),
            }),
            (None, failure) => Err(self.session.refused(failure.unwrap_or_default())),
        }
    }

    fn hung(&self, missed: Missed) -> Error {
        self.session
            .missed_within(self.limit, missed, self.title.clone())
    }

    fn watch<T>(
        &self,
        mut probe: impl FnMut(&mut Progress) -> Option<T>,
    ) -> std::result::Result<T, Missed> {
        let id = self.id;
        self.session.board().wait(self.limit, |state| {
            probe(state.commands.entry(id).or_default())
        })
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.session.board().lock().commands.remove(&self.id);
    }
}

/// A piece of output.
type Chunk = (Stream, Vec<u8>);

/// Finds `pattern` in either stream after `matched`: the new ends of the matches, and the line.
fn find(progress: &Progress, matched: [usize; 2], pattern: &[u8]) -> Option<([usize; 2], String)> {
    for (n, stream) in [Stream::Stdout, Stream::Stderr].into_iter().enumerate() {
        let bytes = progress.stream(stream);
        let rest = &bytes[matched[n]..];
        let at = rest
            .windows(pattern.len().max(1))
            .position(|window| window == pattern);
        if let Some(at) = at {
            let start = matched[n] + at;
            let mut ends = matched;
            ends[n] = start + pattern.len();
            return Some((ends, line_around(bytes, start)));
        }
    }
    None
}

fn line_around(bytes: &[u8], at: usize) -> String {
    let newline = |byte: &u8| *byte == b'\n';
    let start = bytes[..at].iter().rposition(newline).map_or(0, |n| n + 1);
    let end = bytes[at..]
        .iter()
        .position(newline)
        .map_or(bytes.len(), |n| at + n);
    String::from_utf8_lossy(&bytes[start..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_move_on_in_each_stream() {
        let progress = Progress {
            stdout: b"one ready\ntwo ready\npart".to_vec(),
            stderr: b"ready too\n".to_vec(),
            ..Progress::default()
        };
        let (ends, line) = find(&progress, [0, 0], b"ready").unwrap();
        assert_eq!((ends, line.as_str()), ([9, 0], "one ready"));
        let (ends, line) = find(&progress, ends, b"ready").unwrap();
        assert_eq!((ends, line.as_str()), ([19, 0], "two ready"));
        let (ends, line) = find(&progress, ends, b"ready").unwrap();
        assert_eq!((ends, line.as_str()), ([19, 5], "ready too"));
        assert!(find(&progress, ends, b"ready").is_none());
        let (_, line) = find(&progress, ends, b"par").unwrap();
        assert_eq!(line, "part");
    }
}
