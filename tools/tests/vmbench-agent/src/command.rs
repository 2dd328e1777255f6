// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One running command: its process group, its output, its time limit.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{kill_process_group, Pid, Signal};
use vmbench_proto::{Status, Stream};

/// How much output is sent in one message at most, in bytes.
const CHUNK: usize = 32 * 1024;

/// After a command has ended, a process that it left behind may hold its output open. Whatever the
/// command itself wrote is in the pipe by then, so this is the time that reading it out may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// What to run.
pub struct Spec {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub stdin: Vec<u8>,
    pub limit: Duration,
}

/// The process group of a command, until the command has been waited for.
///
/// Signals go through the lock, and it is emptied before the number can be used again.
#[derive(Clone, Default)]
pub struct Group(Arc<Mutex<Option<Pid>>>);

impl Group {
    /// Sends `signal` to every process of the group.
    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        let pid = self.0.lock().unwrap();
        let pid = pid.ok_or("the command has ended")?;
        kill_process_group(pid, signal).map_err(|error| format!("kill: {error}"))
    }

    fn set(&self, pid: Option<Pid>) {
        *self.0.lock().unwrap() = pid;
    }
}

/// A command that has been started and not yet waited for.
pub struct Running {
    child: Child,
    group: Group,
    stdin: Vec<u8>,
    limit: Duration,
}

impl Running {
    /// Starts the program in a process group of its own.
    pub fn start(spec: Spec) -> Result<Self, String> {
        let (program, args) = spec.argv.split_first().ok_or("no program named")?;
        let child = Command::new(program)
            .args(args)
            .envs(spec.env)
            .current_dir(&spec.cwd)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run {program} in {}: {error}", spec.cwd))?;
        let group = Group::default();
        group.set(Pid::from_raw(child.id() as i32));
        Ok(Self {
            child,
            group,
            stdin: spec.stdin,
            limit: spec.limit,
        })
    }

    /// The command's process group.
    pub fn group(&self) -> Group {
        self.group.clone()
    }

    /// Hands each piece of output to `sink` and blocks until the command has ended.
    pub fn finish(mut self, sink: impl Fn(Stream, &[u8]) + Clone + Send + 'static) -> Status {
        feed(self.child.stdin.take(), self.stdin);
        let (open, drained) = mpsc::channel();
        forward(self.child.stdout.take(), Stream::Stdout, &sink, &open);
        forward(self.child.stderr.take(), Stream::Stderr, &sink, &open);
        drop(open);
        let status = wait_within(self.child, &self.group, self.limit);
        // Nothing is ever sent: the channel closes when both streams have ended.
        let _: Result<(), _> = drained.recv_timeout(DRAIN_LIMIT);
        status
    }
}

fn feed(pipe: Option<impl Write + Send + 'static>, stdin: Vec<u8>) {
    if let Some(mut pipe) = pipe {
        // A command need not read its input; its broken pipe is no error.
        thread::spawn(move || drop(pipe.write_all(&stdin)));
    }
}

fn forward(
    pipe: Option<impl Read + Send + 'static>,
    stream: Stream,
    sink: &(impl Fn(Stream, &[u8]) + Clone + Send + 'static),
    open: &Sender<()>,
) {
    let Some(mut pipe) = pipe else { return };
    let (sink, open) = (sink.clone(), open.clone());
    thread::spawn(move || {
        let mut chunk = vec![0; CHUNK];
        while let Ok(len @ 1..) = pipe.read(&mut chunk) {
            sink(stream, &chunk[..len]);
        }
        drop(open);
    });
}

fn wait_within(child: Child, group: &Group, limit: Duration) -> Status {
    let ended = wait_in_background(child, group.clone());
    match ended.recv_timeout(limit) {
        Ok(status) => translate(status),
        Err(RecvTimeoutError::Disconnected) => Status::TimedOut,
        Err(RecvTimeoutError::Timeout) => {
            // If the command ends just now, there is nothing left to kill.
            let _ = group.signal(Signal::KILL);
            let _ = ended.recv();
            Status::TimedOut
        }
    }
}

fn wait_in_background(mut child: Child, group: Group) -> Receiver<ExitStatus> {
    let (send, ended) = mpsc::channel();
    thread::spawn(move || {
        let status = child.wait();
        group.set(None);
        if let Ok(status) = status {
            let _ = send.send(status);
        }
    });
    ended
}

fn translate(status: ExitStatus) -> Status {
    match (status.code(), status.signal()) {
        (Some(code), _) => Status::Code(code),
        (None, signal) => Status::Signal(signal.unwrap_or_default()),
    }
}
