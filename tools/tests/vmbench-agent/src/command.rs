// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One running command: its process group, its output, its time limit.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{eventfd, poll, EventfdFlags, PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{kill_process_group, Pid, Signal};
use vmbench_proto::{Status, Stream};

/// How much output is sent in one message at most, in bytes.
const CHUNK: usize = 32 * 1024;

/// What to run.
pub struct Spec {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub stdin: Vec<u8>,
    /// The command is killed when it has written nothing for this time.
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
    /// An eventfd that is readable once the command has ended.
    has_ended: Arc<OwnedFd>,
}

impl Running {
    /// Starts the program in a process group of its own.
    pub fn start(spec: Spec) -> Result<Self, String> {
        let (program, args) = spec.argv.split_first().ok_or("no program named")?;
        let has_ended = eventfd(0, EventfdFlags::CLOEXEC)
            .map_err(|error| format!("no eventfd for {program}: {error}"))?;
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
            has_ended: Arc::new(has_ended),
        })
    }

    /// The command's process group.
    pub fn group(&self) -> Group {
        self.group.clone()
    }

    /// Hands each piece of output to `sink` and blocks until the command has ended and all that it wrote was handed
    /// over. Not so for what processes write that it left behind.
    pub fn finish(mut self, sink: impl Fn(Stream, &[u8]) + Clone + Send + 'static) -> Status {
        let (news, heard) = mpsc::channel();
        feed(self.child.stdin.take(), self.stdin);
        let output = Output {
            news: news.clone(),
            has_ended: Arc::clone(&self.has_ended),
        };
        let readers = [
            output.forward(self.child.stdout.take(), Stream::Stdout, sink.clone()),
            output.forward(self.child.stderr.take(), Stream::Stderr, sink),
        ];
        wait_in_background(self.child, self.group.clone(), news);
        let status = wait_while_heard(&heard, &self.group, self.limit);
        // It has room for the number.
        let _ = rustix::io::write(&*self.has_ended, &1u64.to_ne_bytes());
        for reader in readers.into_iter().flatten() {
            let _ = reader.join();
        }
        status
    }
}

/// What is heard of a command while it runs.
enum News {
    /// It has written something.
    Output,
    /// It has ended, and was waited for.
    Ended(Status),
}

fn feed(pipe: Option<impl Write + Send + 'static>, stdin: Vec<u8>) {
    if let Some(mut pipe) = pipe {
        // A command need not read its input; its broken pipe is no error.
        thread::spawn(move || drop(pipe.write_all(&stdin)));
    }
}

/// What the readers of both output streams need.
struct Output {
    news: Sender<News>,
    /// Readable once the command has ended.
    has_ended: Arc<OwnedFd>,
}

impl Output {
    /// Reads `pipe` in a thread: to its end, or to what is in it when the command has ended. A process that was left
    /// behind may hold it open for ever, and whatever the command itself wrote is in the pipe by then.
    fn forward(
        &self,
        pipe: Option<impl AsFd + Send + 'static>,
        stream: Stream,
        sink: impl Fn(Stream, &[u8]) + Send + 'static,
    ) -> Option<JoinHandle<()>> {
        let pipe = pipe?;
        let (news, has_ended) = (self.news.clone(), Arc::clone(&self.has_ended));
        let mut chunk = vec![0; CHUNK];
        let mut pass_on = move |pipe: BorrowedFd<'_>, most: usize| {
            let len = rustix::io::read(pipe, &mut chunk[..most.min(CHUNK)]).unwrap_or(0);
            if len > 0 {
                // Nobody listens any more once the command has ended.
                let _ = news.send(News::Output);
                sink(stream, &chunk[..len]);
            }
            len
        };
        Some(thread::spawn(move || {
            while !ended_first(&pipe, &has_ended) {
                if pass_on(pipe.as_fd(), CHUNK) == 0 {
                    return;
                }
            }
            let mut left = rustix::io::ioctl_fionread(&pipe).unwrap_or(0) as usize;
            while left > 0 {
                match pass_on(pipe.as_fd(), left) {
                    0 => return,
                    len => left -= len,
                }
            }
        }))
    }
}

/// Blocks until `pipe` can be read or the command has ended; whether it has.
fn ended_first(pipe: &impl AsFd, has_ended: &OwnedFd) -> bool {
    let mut fds = [
        PollFd::new(pipe, PollFlags::IN),
        PollFd::new(has_ended, PollFlags::IN),
    ];
    while poll(&mut fds, None) == Err(Errno::INTR) {}
    !fds[1].revents().is_empty()
}

/// Blocks until the command has ended, and kills it when nothing was heard of it for `limit`.
fn wait_while_heard(heard: &Receiver<News>, group: &Group, limit: Duration) -> Status {
    loop {
        match heard.recv_timeout(limit) {
            Ok(News::Output) => {}
            Ok(News::Ended(status)) => return status,
            Err(_) => break,
        }
    }
    // If the command ends just now, there is nothing left to kill.
    let _ = group.signal(Signal::KILL);
    while let Ok(News::Output) = heard.recv() {}
    Status::TimedOut
}

fn wait_in_background(mut child: Child, group: Group, news: Sender<News>) {
    thread::spawn(move || {
        let status = child.wait();
        group.set(None);
        // Nobody else waits for our children, so it has a status.
        let _ = news.send(News::Ended(status.map_or(Status::Code(-1), translate)));
    });
}

fn translate(status: ExitStatus) -> Status {
    match (status.code(), status.signal()) {
        (Some(code), _) => Status::Code(code),
        (None, signal) => Status::Signal(signal.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, limit: Duration, pause: Duration) -> (Status, Vec<u8>) {
        let spec = Spec {
            argv: ["sh", "-c", script].map(String::from).to_vec(),
            env: Vec::new(),
            cwd: "/".into(),
            stdin: Vec::new(),
            limit,
        };
        let written: Arc<Mutex<Vec<u8>>> = Arc::default();
        let sink = Arc::clone(&written);
        let status = Running::start(spec).unwrap().finish(move |_, chunk| {
            thread::sleep(pause);
            sink.lock().unwrap().extend_from_slice(chunk);
        });
        let written = written.lock().unwrap().clone();
        (status, written)
    }

    #[test]
    fn all_that_was_written_is_handed_over_however_long_that_takes() {
        // Two chunks, the second of which is in the pipe when the command has ended.
        let script = format!("head -c {} /dev/zero", CHUNK + 1);
        let (status, written) = run(&script, Duration::MAX, Duration::from_secs(3));
        assert_eq!((status, written.len()), (Status::Code(0), CHUNK + 1));
    }

    #[test]
    fn a_command_that_writes_may_take_longer_than_its_limit() {
        let script = "for n in $(seq 40); do echo $n; sleep 0.1; done";
        let limit = Duration::from_secs(3);
        let (status, written) = run(script, limit, Duration::ZERO);
        assert_eq!((status, written.len()), (Status::Code(0), 9 * 2 + 31 * 3));
    }

    #[test]
    fn a_command_that_has_gone_silent_is_killed() {
        let limit = Duration::from_millis(100);
        let (status, _) = run("exec sleep 1000", limit, Duration::ZERO);
        assert_eq!(status, Status::TimedOut);
    }
}
