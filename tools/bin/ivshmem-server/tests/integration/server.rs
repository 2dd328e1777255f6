// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Servers to test: one in this process, one as the real program.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use ivshmem_server::{RegionConfig, Server, Trigger};
use rustix::process::{kill_process, Pid, Signal};
use tempfile::TempDir;

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ivshmem-server");

/// Most tests have more join in a moment than is usual, and as this process is all clients, each has what it
/// has.
pub const UNLIMITED: [&str; 2] = ["--join-rate=0", "--client-descriptors=1000000"];

pub fn program() -> &'static Path {
    Path::new(PROGRAM)
}

/// A server in a thread of this process, which ends with the value.
pub struct Embedded {
    pub path: PathBuf,
    pub stop: Trigger,
    thread: Option<JoinHandle<io::Result<()>>>,
    _directory: TempDir,
}

impl Embedded {
    pub fn start(vectors: u16, max_peers: u32) -> Self {
        Self::configured(|config| {
            config.vectors = vectors;
            config.max_peers = max_peers;
        })
    }

    /// Starts a server of one region, whose configuration is changed first. Sockets can be
    /// placed beside its own.
    pub fn configured(change: impl FnOnce(&mut RegionConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let mut config = RegionConfig::new(&path);
        (config.join_rate, config.client_descriptors) = (0, 1_000_000);
        change(&mut config);
        let server = Server::bind(config).unwrap();
        let stop = server.stop_trigger();
        Self {
            path,
            stop,
            thread: Some(std::thread::spawn(move || server.run(|_| ()))),
            _directory: directory,
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop.fire();
        let result = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            result.unwrap().unwrap();
        }
    }
}

/// The program as a user without privileges whom nobody else is, as far as this test may do that.
pub struct Unprivileged;

impl Unprivileged {
    /// Starts the program on the socket `socket` in `directory`, with this hard limit of open files.
    pub fn start(directory: &Path, descriptors: u64, args: &[&str]) -> Running {
        let setup = if rustix::process::geteuid().is_root() {
            let user = 600_000 + std::process::id() % 1_000_000;
            std::os::unix::fs::chown(directory, Some(user), None).unwrap();
            let user = format!("--reuid={user} --regid={user} --clear-groups --inh-caps=-all");
            format!("ulimit -n {descriptors}\nset -- \"$0\" \"$@\"\nset -- {user} \"$@\"\nset -- setpriv \"$@\"")
        } else {
            format!("ulimit -n {descriptors}\nset -- \"$0\" \"$@\"")
        };
        Running::start_by(&setup, "\"$@\"", &directory.join("socket"), args)
    }
}

/// The program, running, with clients welcome. It is killed if it still runs at the end.
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts the program on the socket `path`, after these shell commands.
    pub fn start_after(setup: &str, path: &Path, args: &[&str]) -> Self {
        let args = [&UNLIMITED[..], args].concat();
        Self::start_by(setup, "\"$0\" \"$@\"", path, &args)
    }

    /// The same with the limits that it has if nothing is said.
    pub fn start_limited(path: &Path, args: &[&str]) -> Self {
        Self::start_by("", "\"$0\" \"$@\"", path, args)
    }

    /// The same with another command line than that of the program.
    fn start_by(setup: &str, command: &str, path: &Path, args: &[&str]) -> Self {
        // The descriptor of the notice is a pipe to us, and no other copy of it stays open.
        let script = format!("{setup}\nexec {command} --ready-fd 3 3>&1 1>&2");
        let mut child = Command::new("sh")
            .args([OsStr::new("-c"), script.as_ref(), PROGRAM.as_ref()])
            .args([OsStr::new("--socket-path"), path.as_ref()])
            .args(["--log-level", "error"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut notice = String::new();
        let mut pipe = child.stdout.take().unwrap();
        pipe.read_to_string(&mut notice).unwrap();
        assert_eq!(notice, "READY=1\n");
        Self { child }
    }

    pub fn start(path: &Path, args: &[&str]) -> Self {
        Self::start_after("", path, args)
    }

    /// A program that was started by somebody else.
    pub fn adopt(child: Child) -> Self {
        Self { child }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Number of open file descriptors.
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(path).unwrap().count()
    }

    /// What the kernel tells of the process, line by line.
    pub fn status(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap()
    }

    /// The most physical memory that the program has had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let text = self.status();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 = peak.unwrap().trim_end_matches("kB").trim().parse().unwrap();
        kib << 10
    }

    /// Time that the program has spent on processors.
    pub fn cpu_time(&self) -> Duration {
        let path = format!("/proc/{}/schedstat", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let nanoseconds = text.split(' ').next().unwrap();
        Duration::from_nanos(nanoseconds.parse().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if the program has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
