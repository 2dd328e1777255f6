// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What vmbench and its agent in the guest say to each other.
//!
//! Both directions of the virtio-serial port carry the same frames ([`frame`]): one line of JSON,
//! then the raw bytes that the line announces. A person can read the lines in a trace, and file
//! contents and program output pass unchanged: base64 would cost a third more bytes, and encoding them
//! costs time where it is scarcest, in a guest under emulation.

pub mod frame;

use serde::{Deserialize, Serialize};

/// Number of the agent's port on the virtio-serial device. Number 0 is kept for a console.
pub const PORT_NUMBER: u32 = 1;

/// The agent's port in the guest. The host makes its virtio-serial device the first one.
pub const PORT_PATH: &str = "/dev/vport0p1";

/// The line on the guest's console that says why the agent gave up starts with this.
pub const FATAL_PREFIX: &str = "vmbench-agent: fatal: ";

/// What the host asks for. `id` is chosen by the host; each answer to the request carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Run a program. The payload is its standard input. Answered by any number of
    /// [`Reply::Output`], then one [`Reply::Exited`]; or by [`Reply::Failed`] if it cannot be started.
    Run {
        /// Identifies the command until it has exited.
        id: u64,
        /// Program, looked up in `PATH`, and its arguments. Never empty.
        argv: Vec<String>,
        /// Variables added to the agent's own environment.
        env: Vec<(String, String)>,
        /// Working directory.
        cwd: String,
        /// The agent kills the command's process group when it has written nothing for so many milliseconds.
        limit_ms: u64,
    },
    /// Send a signal to the process group of a running command. Answered by [`Reply::Done`];
    /// by [`Reply::Failed`] if the command has ended.
    Signal {
        /// Identifies this request.
        id: u64,
        /// The `id` of the [`Request::Run`].
        command: u64,
        /// Number of the signal.
        signal: i32,
    },
    /// Create or replace a file with the payload, its parent directories included.
    /// Answered by [`Reply::Done`] or [`Reply::Failed`].
    Write {
        /// Identifies this request.
        id: u64,
        /// Absolute path.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// Send a file's contents. Answered by [`Reply::Done`] with the contents as its payload,
    /// or by [`Reply::Failed`].
    Read {
        /// Identifies this request.
        id: u64,
        /// Absolute path.
        path: String,
    },
    /// Send the kernel's log from the record number `since` on. Answered by [`Reply::Log`] with the
    /// text as its payload, or by [`Reply::Failed`].
    KernelLog {
        /// Identifies this request.
        id: u64,
        /// The first record wanted; 0 is the first record since boot.
        since: u64,
    },
    /// Do nothing. Not answered: that it arrives is all that it is for.
    Nudge,
    /// Power the guest off. Not answered: the port closes.
    PowerOff,
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The first message: the agent serves requests from now on.
    Ready,
    /// The payload was written by the command to one of its output streams.
    Output {
        /// The `id` of the [`Request::Run`].
        id: u64,
        /// Which stream.
        stream: Stream,
    },
    /// The command ended. Output with its `id` that follows comes from a process that it left behind.
    Exited {
        /// The `id` of the [`Request::Run`].
        id: u64,
        /// How it ended.
        status: Status,
    },
    /// The request was carried out.
    Done {
        /// The request's `id`.
        id: u64,
    },
    /// A piece of the kernel's log is the payload.
    Log {
        /// The request's `id`.
        id: u64,
        /// Number of the record that comes after the last one sent.
        next: u64,
    },
    /// The request was not carried out.
    Failed {
        /// The request's `id`.
        id: u64,
        /// What went wrong.
        message: String,
    },
}

/// One of the two output streams of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a command in a guest ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It exited with this code.
    Code(i32),
    /// A signal of this number ended it.
    Signal(i32),
    /// The agent killed it because it had written nothing for its time limit.
    TimedOut,
}
