// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What Linux has without the device: sockets, pipes and eventfds, to a process of this machine.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use ivshmem::{Doorbell, MAX_PEER};
use rustix::event::{eventfd, EventfdFlags};
use rustix::net::{socketpair, AddressFamily, SocketFlags, SocketType};
use rustix::pipe::{pipe_with, PipeFlags};

use super::party::{Helper, Party};
use super::report::{Report, Unit};
use super::rounds::{BATCH, MESSAGE, NOTE, ROUND, STREAM};
use super::timing::{per_call, rate};
use crate::exit::Exit;

/// Bytes that an eventfd is read and written by.
const COUNTER: usize = 8;

/// A process that answers, and the two endpoints to it.
struct Echo {
    _child: Helper,
    to: File,
    from: File,
}

/// A pair of descriptors: what is written to the first is read from the second.
type Line = (OwnedFd, OwnedFd);

/// Answers each `takes` bytes of the standard input by `gives` bytes, until there are no more.
pub fn echo(takes: usize, gives: usize) -> Result<Exit> {
    // Not buffered: an eventfd takes its eight bytes at a time, a socket a message.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut taken = vec![0; takes];
    loop {
        match input.read_exact(&mut taken) {
            Ok(()) => output.write_all(&one(gives))?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Exit::Success),
            Err(error) => return Err(error.into()),
        }
    }
}

/// So many bytes, of which the first is 1: as a number that an eventfd is to add, 1.
fn one(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[0] = 1;
    bytes
}

impl Echo {
    fn start(lines: [Line; 2], takes: usize, gives: usize) -> Result<Self> {
        let [(to, input), (output, from)] = lines;
        let child = Command::new("/proc/self/exe")
            .args(["bench", "--echo", &takes.to_string(), &gives.to_string()])
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(output))
            .spawn()
            .context("cannot start the process that answers")?;
        Ok(Self {
            _child: Helper(child),
            to: to.into(),
            from: from.into(),
        })
    }

    /// Nanoseconds from `messages` of this length until the answer.
    fn per_round(
        &mut self,
        time: Duration,
        messages: usize,
        len: usize,
        back: usize,
    ) -> Result<f64> {
        let (message, mut answer) = (one(len), vec![0; back]);
        per_call(time, || {
            for _ in 0..messages {
                self.to.write_all(&message)?;
            }
            Ok(self.from.read_exact(&mut answer)?)
        })
    }
}

fn sockets() -> Result<[Line; 2]> {
    // Messages, as a channel has.
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok([(ours.try_clone()?, theirs.try_clone()?), (theirs, ours)])
}

fn pipes() -> Result<[Line; 2]> {
    let line = || pipe_with(PipeFlags::CLOEXEC).map(|(from, to)| (to, from));
    Ok([line()?, line()?])
}

fn eventfds() -> Result<[Line; 2]> {
    let line = || -> io::Result<Line> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC)?;
        Ok((fd.try_clone()?, fd))
    };
    Ok([line()?, line()?])
}

/// What a ring costs who rings: beside the call that it is like.
pub fn doorbells(report: &mut Report, party: &Party, time: Duration) {
    if party.kind.endpoint().is_none() {
        // The host knows who is not there, and does nothing.
        return;
    }
    const GROUP: &str = "one call";
    let write = eventfd(0, EventfdFlags::CLOEXEC).map(File::from);
    let write = write.map_err(Into::into).and_then(|mut eventfd| {
        let one = one(COUNTER);
        per_call(time, || Ok(eventfd.write_all(&one)?))
    });
    report.add(GROUP, "write to an eventfd", Unit::Nanoseconds, write);
    let ring = per_call(time, || Ok(party.link.ring(MAX_PEER, 0)?));
    report.add(
        GROUP,
        "ring a peer that is not there",
        Unit::Nanoseconds,
        ring,
    );
}

/// Round trips.
pub fn rounds(report: &mut Report, time: Duration) {
    let mut round = |what, lines: Result<[Line; 2]>, len| {
        let took =
            lines.and_then(|lines| Echo::start(lines, len, len)?.per_round(time, 1, len, len));
        report.add(ROUND, what, Unit::Nanoseconds, took);
    };
    round("UNIX socket", sockets(), NOTE);
    round("pipes", pipes(), NOTE);
    round("eventfds", eventfds(), COUNTER);
}

/// Many messages, each batch of which is answered.
pub fn stream(report: &mut Report, time: Duration) {
    let mut stream = |what, lines: Result<[Line; 2]>| {
        let bytes = BATCH * MESSAGE;
        let took = lines
            .and_then(|lines| Echo::start(lines, bytes, 1)?.per_round(time, BATCH, MESSAGE, 1));
        let rates = took.map(|nanoseconds| rate(bytes, nanoseconds));
        report.add(STREAM, what, Unit::MibPerSecond, rates);
    };
    stream("UNIX socket", sockets());
    stream("pipe", pipes());
}
