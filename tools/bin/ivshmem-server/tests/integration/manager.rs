// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A service manager, as far as a server can tell it from systemd. Guest tests use it, too.
#![allow(unsafe_code)] // A child must find descriptors at given numbers.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::net::{recvmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};

use crate::service::{program, Running};

/// First number of the descriptors that are passed to a service.
const FIRST: i32 = 3;

/// What the manager says to itself to know that it has read everything before.
const BARRIER: &str = "BARRIER\n";

type Kept = Arc<Mutex<Vec<(String, OwnedFd)>>>;

/// A service manager that keeps descriptors for one service.
pub struct Manager {
    path: PathBuf,
    kept: Kept,
    /// How many descriptors it keeps; more are dropped without a word.
    room: usize,
    /// Whether it tells the service how many.
    tells: bool,
    /// Shell commands before the program starts.
    setup: &'static str,
    /// How often it was to keep something.
    stores: Arc<AtomicUsize>,
    /// Notices, but for those about descriptors.
    notices: Receiver<String>,
}

impl Manager {
    /// Listens at `path`.
    pub fn new(path: &Path) -> Self {
        Self::with_room(path, usize::MAX, false)
    }

    /// The same with room for so many descriptors, of which newer versions of systemd tell the service.
    pub fn with_room(path: &Path, room: usize, tells: bool) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let kept = Kept::default();
        let (sender, notices) = channel();
        let stores = Arc::default();
        let theirs = (Arc::clone(&kept), Arc::clone(&stores));
        std::thread::spawn(move || listen(&socket, &theirs.0, &theirs.1, room, &sender));
        Self {
            path: path.to_owned(),
            kept,
            room,
            tells,
            setup: "",
            stores,
            notices,
        }
    }

    /// The same with shell commands before the program starts.
    pub fn prepared(self, setup: &'static str) -> Self {
        Self { setup, ..self }
    }

    /// Has a descriptor passed to the service, like a socket unit would.
    pub fn pass(&self, name: &str, fd: impl Into<OwnedFd>) {
        self.kept.lock().unwrap().push((name.to_owned(), fd.into()));
    }

    /// Starts the program with all that is kept.
    pub fn spawn(&self, args: &[&str]) -> Running {
        Running::adopt(self.command(args).spawn().unwrap())
    }

    /// Runs the program, which is to fail. Returns how it ended and what it said.
    pub fn fail(&self, args: &[&str]) -> (ExitStatus, String) {
        let output = self.command(args).output().unwrap();
        (output.status, String::from_utf8(output.stderr).unwrap())
    }

    fn command(&self, args: &[&str]) -> Command {
        let kept = self.kept.lock().unwrap();
        let beyond = FIRST + i32::try_from(kept.len()).unwrap();
        let fds: Vec<OwnedFd> = kept
            .iter()
            .map(|(_, fd)| fcntl_dupfd_cloexec(fd, beyond).unwrap())
            .collect();
        let names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
        let unlimited = ["--join-rate=0"];
        let configured = args.contains(&"--config");
        let script = format!("{}\nexport LISTEN_PID=$$; exec \"$0\" \"$@\"", self.setup);
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .arg(program())
            .args(["--log-level", "warn"])
            .args(unlimited.iter().filter(|_| !configured))
            .args(args)
            .env("NOTIFY_SOCKET", &self.path)
            .env("LISTEN_FDS", fds.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .stdin(Stdio::null());
        drop(kept);
        if self.tells {
            command.env("FDSTORE", self.room.to_string());
        }
        let place = move || {
            for (target, fd) in (FIRST..).zip(&fds) {
                // SAFETY: dup2() may be called after fork(). What it closes belongs to nobody in
                // the child, which becomes another program at once.
                if unsafe { libc::dup2(fd.as_raw_fd(), target) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: The closure makes system calls only, and allocates nothing if they succeed.
        unsafe { command.pre_exec(place) };
        command
    }

    /// Starts the program and waits until it is ready.
    pub fn start(&self, args: &[&str]) -> Running {
        let running = self.spawn(args);
        self.wait_until_ready();
        running
    }

    pub fn wait_until_ready(&self) {
        while !self.notice().contains("READY=1") {}
    }

    /// Waits for a notice that is not about descriptors.
    pub fn notice(&self) -> String {
        self.notices
            .recv_timeout(test_limit::limit())
            .expect("no notice")
    }

    /// Waits until everything is done that a service wanted which has ended.
    pub fn catch_up(&self) {
        let ours = UnixDatagram::unbound().unwrap();
        ours.send_to(BARRIER.as_bytes(), &self.path).unwrap();
        while self.notice() != BARRIER {}
    }

    /// How often it was to keep something.
    pub fn stores(&self) -> usize {
        self.catch_up();
        self.stores.load(Ordering::Relaxed)
    }

    /// Names of what is kept, in order.
    pub fn names(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap();
        let mut names: Vec<_> = kept.iter().map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        names
    }
}

fn listen(
    socket: &UnixDatagram,
    kept: &Kept,
    stores: &AtomicUsize,
    room: usize,
    notices: &Sender<String>,
) {
    loop {
        let (text, fds) = receive(socket.as_fd());
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
        let name = name.unwrap_or("stored").to_owned();
        if text.contains("FDSTORE=1\n") {
            stores.fetch_add(1, Ordering::Relaxed);
            let mut kept = kept.lock().unwrap();
            // In front, as systemd does: the order is not to be relied on.
            for fd in fds {
                if kept.len() < room {
                    kept.insert(0, (name.clone(), fd));
                }
            }
        } else if text.contains("FDSTOREREMOVE=1\n") {
            kept.lock().unwrap().retain(|(found, _)| *found != name);
        } else if notices.send(text).is_err() {
            return;
        }
    }
}

fn receive(socket: BorrowedFd<'_>) -> (String, Vec<OwnedFd>) {
    let mut text = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut text)];
    let received = recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    assert!(!received.flags.contains(ReturnFlags::CTRUNC));
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    text.truncate(received.bytes);
    (String::from_utf8(text).unwrap(), fds)
}
