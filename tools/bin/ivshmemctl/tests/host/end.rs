// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A command that runs until a signal ends it, and tells in JSON what happens.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use rustix::process::{kill_process, Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use super::{path_in, server, Server, PROGRAM};

/// A server, whose memory ends share.
pub struct Machines {
    pub directory: TempDir,
    server: Option<Server>,
    pub socket: String,
    size: &'static str,
}

impl Machines {
    pub fn new(size: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = path_in(directory.path(), "socket");
        let mut machines = Self {
            directory,
            server: None,
            socket,
            size,
        };
        machines.restart();
        machines
    }

    /// Kills the server, and starts another one with memory of its own.
    pub fn restart(&mut self) {
        self.server = None;
        let _ = std::fs::remove_file(&self.socket);
        let arguments = ["-S", &self.socket, "--size", self.size, "--vectors=1"];
        self.server = Some(server(&arguments));
    }

    /// The same with so many bytes.
    pub fn restart_with(&mut self, size: &'static str) {
        self.size = size;
        self.restart();
    }

    /// Starts a command as an endpoint of this memory.
    pub fn start(&self, command: &str) -> End {
        End::start(&format!("{command} --join {}", self.socket))
    }
}

/// What a program can write to that has no room, and what could be read from to make some.
pub fn stalled() -> (OwnedFd, UnixStream) {
    let (mut full, reader) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    for bytes in [4096, 1] {
        while full.write(&[b' '; 4096][..bytes]).is_ok() {}
    }
    full.set_nonblocking(false).unwrap();
    (full.into(), reader)
}

/// A process, killed when this is dropped.
pub struct End {
    child: Child,
    told: BufReader<ChildStdout>,
    complaints: ChildStderr,
}

impl End {
    /// Starts a command, whose words are separated by spaces.
    pub fn start(command: &str) -> Self {
        Self::of(Command::new(PROGRAM), command)
    }

    /// Starts a command by a program that runs this one with more arguments.
    pub fn of(mut program: Command, command: &str) -> Self {
        let mut child = program
            .arg("--json")
            .args(command.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            told: BufReader::new(child.stdout.take().unwrap()),
            complaints: child.stderr.take().unwrap(),
            child,
        }
    }

    /// The next thing of this kind that it tells; others before it are left out.
    pub fn expect(&mut self, event: &str) -> Value {
        self.all_until(event).pop().expect("it is the last one")
    }

    /// All that it tells up to the next thing of this kind.
    pub fn all_until(&mut self, event: &str) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let mut line = String::new();
            self.told.read_line(&mut line).unwrap();
            if line.is_empty() {
                let mut text = String::new();
                self.complaints.read_to_string(&mut text).unwrap();
                panic!("it ended before {event}: {text}");
            }
            let told: Value = serde_json::from_str(&line).unwrap();
            let ends = told["event"] == event;
            all.push(told);
            if ends {
                return all;
            }
        }
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        let tasks = format!("/proc/{}/task", self.child.id());
        std::fs::read_dir(tasks).unwrap().count()
    }

    /// Bytes of memory that it has in use.
    pub fn memory(&self) -> u64 {
        self.bytes("VmRSS:")
    }

    /// The most bytes of memory that it had in use.
    #[allow(dead_code)] // Here; the tests of the bridge have these processes too.
    pub fn peak(&self) -> u64 {
        self.bytes("VmHWM:")
    }

    /// A number of `/proc/PID/status`.
    fn bytes(&self, name: &str) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib: u64 = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kib << 10
    }

    /// Closes what it writes to.
    pub fn stop_listening(&mut self) {
        let nothing = OwnedFd::from(File::open("/dev/null").unwrap());
        self.told = BufReader::new(nothing.into());
    }

    /// What it tells when it is asked by SIGUSR1.
    pub fn status(&mut self) -> Value {
        self.signal(Signal::USR1);
        self.expect("status")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it as `systemctl stop` does.
    pub fn end(mut self) {
        self.signal(Signal::TERM);
        assert!(self.child.wait().unwrap().success());
    }

    /// Waits until it ends by itself: its exit code and what it says.
    pub fn failure(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.complaints.read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code(), text)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
