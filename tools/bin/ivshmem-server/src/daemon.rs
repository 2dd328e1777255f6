// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Going to the background once clients can connect.
#![allow(unsafe_code)] // fork() has no safe interface.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::Context;
use rustix::pipe::{pipe_with, PipeFlags};
use rustix::process::{setsid, waitpid, Pid, WaitOptions};

/// Which of the two processes this is, after [`split`].
pub enum Side {
    /// The one that was started. It ends as is said here, when the other one is ready or has failed.
    Starter(ExitCode),
    /// The one that goes on, in a session of its own.
    Background(Background),
}

/// The process in the background, which somebody waits for.
#[derive(Debug)]
pub struct Background {
    starter: File,
}

/// Makes the process that goes on in the background, and in the one that was started waits for
/// [`Background::ready`] or its end.
///
/// To be called while this process has one thread, and before it opens anything.
pub fn split() -> anyhow::Result<Side> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).context("cannot create a pipe")?;
    // SAFETY: There is one thread, as the caller promises. So no other thread's locks are in the copy
    // of the memory that the child goes on with, and it may do what any process may.
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(io::Error::last_os_error()).context("cannot create a process"),
        0 => {
            // Fails only for the leader of a process group, which a new process is not.
            setsid().context("cannot create a session")?;
            Ok(Side::Background(Background {
                starter: write.into(),
            }))
        }
        child => {
            drop(write);
            wait(read.into(), child).map(Side::Starter)
        }
    }
}

/// Waits for the notice of `child`, or for its end.
fn wait(mut notice: File, child: i32) -> anyhow::Result<ExitCode> {
    let mut byte = [0];
    if notice.read(&mut byte).context("cannot read from a pipe")? == 1 {
        return Ok(ExitCode::SUCCESS);
    }
    // It has said why.
    let ended = waitpid(Pid::from_raw(child), WaitOptions::empty())
        .context("cannot wait for the process in the background")?;
    let code = ended.and_then(|(_, status)| status.exit_status());
    let code = code.and_then(|code| u8::try_from(code).ok());
    // A signal ended it before it was ready.
    let code = code.filter(|code| *code != 0);
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

impl Background {
    /// Lets go of the standard input and output, so that nobody waits for those. The standard error, to
    /// which the log goes, stays.
    pub fn let_go(&self) -> io::Result<()> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(null.as_fd())?;
        rustix::stdio::dup2_stdout(null.as_fd())?;
        Ok(())
    }

    /// Lets the process that was started end.
    pub fn ready(mut self) -> io::Result<()> {
        self.starter.write_all(&[1])
    }
}
