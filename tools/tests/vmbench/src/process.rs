// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Child processes that never outlive this one.

// `pre_exec` is unsafe: it is the only way to set a parent-death signal and to pass descriptors on.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::{fcntl_setfd, Errno, FdFlags};
use rustix::process::{getpid, pidfd_send_signal, Pid, PidfdFlags, Signal};
use rustix::process::{getppid, pidfd_open, set_parent_process_death_signal};

use crate::cleanup;

/// A child process. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub(crate) struct Child {
    child: std::process::Child,
    pidfd: Arc<OwnedFd>,
    _registered: cleanup::Registered,
}

impl Child {
    /// Starts `command` with standard input closed and standard error in a pipe.
    ///
    /// The child gets each of `inherit` under the number that it has here; they are closed here.
    /// The kernel sends it `at_parents_death` when this process ends in whatever way.
    pub fn spawn(
        mut command: Command,
        inherit: Vec<OwnedFd>,
        at_parents_death: Signal,
    ) -> io::Result<Self> {
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        // A Ctrl-C at the terminal is for this process; it decides about its children.
        command.process_group(0);
        let parent = getpid();
        let prepare = move || prepare(parent, &inherit, at_parents_death);
        // SAFETY: `prepare` runs between fork and exec, where only async-signal-safe functions may be
        // called and no memory allocated: it makes system calls only, and reads what it captured.
        unsafe { command.pre_exec(prepare) };
        on_spawner_thread(command).and_then(Self::watch)
    }

    fn watch(mut child: std::process::Child) -> io::Result<Self> {
        let opened = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        let pidfd = match opened {
            Ok(pidfd) => Arc::new(pidfd),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.into());
            }
        };
        Ok(Self {
            child,
            _registered: cleanup::register_process(Arc::clone(&pidfd)),
            pidfd,
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The reading end of the child's standard error, once.
    pub fn take_stderr(&mut self) -> Option<File> {
        self.child
            .stderr
            .take()
            .map(|pipe| File::from(OwnedFd::from(pipe)))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// Waits for the child's end; `None` if it has not ended in time.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Option<ExitStatus>> {
        if readable_within(&self.pidfd, limit)? {
            self.child.wait().map(Some)
        } else {
            Ok(None)
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only if the child has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Blocks until `fd` is readable; false if it is not in time.
pub(crate) fn readable_within(fd: &impl AsFd, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        match poll(&mut fds, Some(&left)) {
            Err(Errno::INTR) => {}
            other => return Ok(other? > 0),
        }
    }
}

fn prepare(parent: Pid, inherit: &[OwnedFd], at_parents_death: Signal) -> io::Result<()> {
    set_parent_process_death_signal(Some(at_parents_death))?;
    // The parent may have died before the line above.
    if getppid() != Some(parent) {
        return Err(io::ErrorKind::NotFound.into());
    }
    for fd in inherit {
        fcntl_setfd(fd, FdFlags::empty())?;
    }
    Ok(())
}

struct Job {
    command: Command,
    reply: Sender<io::Result<std::process::Child>>,
}

/// Starts the command on a thread that lives as long as this process: the kernel sends the
/// parent-death signal already when the thread ends that started the child.
fn on_spawner_thread(command: Command) -> io::Result<std::process::Child> {
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (send, jobs) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for mut job in jobs {
                let result = job.command.spawn();
                // The child holds its own copies of what it inherits; an end of a socket that stays
                // open here would hide that the child is gone.
                drop(job.command);
                let _ = job.reply.send(result);
            }
        });
        send
    });
    let (reply, result) = mpsc::channel();
    let job = Job { command, reply };
    spawner.send(job).map_err(io::Error::other)?;
    result.recv().map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn shell(script: &str, inherit: Vec<OwnedFd>) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Child::spawn(command, inherit, Signal::KILL).unwrap()
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let mut child = thread::spawn(|| shell("exec sleep 1000", vec![]))
            .join()
            .unwrap();
        assert_eq!(child.wait(Duration::from_millis(200)).unwrap(), None);
        child.signal(Signal::TERM).unwrap();
        assert!(child.wait(test_limit::limit()).unwrap().is_some());
    }

    #[test]
    fn a_dropped_child_is_gone_and_its_socket_closed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let fd = theirs.as_raw_fd();
        let child = shell(
            &format!("echo x >&{fd}; exec sleep 1000"),
            vec![theirs.into()],
        );
        let pid = child.id();
        assert!(readable_within(&ours, test_limit::limit()).unwrap());
        drop(child);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        let mut said = String::new();
        io::Read::read_to_string(&mut &ours, &mut said).unwrap();
        assert_eq!(said, "x\n");
    }
}
