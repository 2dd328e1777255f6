// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How long a client takes to join a server, beside a thread that only passes as many descriptors.
//!
//! Both are on the host, and the client is the same: it connects, and reads until it has all messages.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Instant;

use anyhow::{ensure, Context, Result};
use rustix::event::{eventfd, EventfdFlags};
use rustix::net::{
    recvmsg, sendmsg, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use vmbench::Region;

use crate::series::{Quantiles, Run};

/// Vectors of each member.
const VECTORS: u16 = 8;

/// Members that are there before, in the two cases.
const OTHERS: [usize; 2] = [0, 16];

/// Joins of one measurement.
const JOINS: usize = 200;

/// Version, ID and memory.
const BEFORE_VECTORS: usize = 3;

const MESSAGE_BYTES: usize = 8;

/// Measures joins with no others and with some.
pub fn measure(run: &mut Run) -> Result<()> {
    for others in OTHERS {
        let messages = BEFORE_VECTORS + (others + 1) * usize::from(VECTORS);
        run.insert(format!("join.server_{others}"), server(others, messages)?);
        run.insert(format!("join.floor_{others}"), floor(messages)?);
    }
    Ok(())
}

fn server(others: usize, messages: usize) -> Result<Quantiles> {
    let region = Region::start(1 << 20, VECTORS)?;
    let socket = region.socket();
    let mut members = Vec::new();
    for number in 0..others {
        let own = BEFORE_VECTORS + (number + 1) * usize::from(VECTORS);
        members.push(join(&socket, own)?);
    }
    // Each is told of all that come and go, and reads it, as QEMU does.
    for member in members {
        thread::spawn(move || while receive(&member).is_ok() {});
    }
    joins(&socket, messages)
}

/// A listener that passes one descriptor with each message, all the same.
fn floor(messages: usize) -> Result<Quantiles> {
    let directory = tempfile::tempdir().context("no directory for a socket")?;
    let socket = directory.path().join("floor");
    let listener = UnixListener::bind(&socket).context("no socket")?;
    thread::spawn(move || -> Result<()> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC)?;
        for _ in 0..JOINS {
            let (client, _) = listener.accept()?;
            for _ in 0..messages {
                send(&client, &descriptor)?;
            }
        }
        Ok(())
    });
    joins(&socket, messages)
}

fn joins(socket: &Path, messages: usize) -> Result<Quantiles> {
    let mut times = Vec::new();
    for _ in 0..JOINS {
        let from = Instant::now();
        let client = join(socket, messages)?;
        times.push(from.elapsed().as_nanos() as f64);
        drop(client);
    }
    Ok(Quantiles::of(times))
}

fn join(socket: &Path, messages: usize) -> Result<UnixStream> {
    let client = UnixStream::connect(socket).context("cannot connect")?;
    for _ in 0..messages {
        receive(&client)?;
    }
    Ok(client)
}

/// Receives a message, and the descriptor that comes with most.
fn receive(client: &UnixStream) -> Result<Option<OwnedFd>> {
    let mut bytes = [0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        client,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL,
    )?;
    ensure!(received.bytes == MESSAGE_BYTES, "the server has hung up");
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(descriptor)
}

fn send(client: &UnixStream, descriptor: &OwnedFd) -> Result<()> {
    let descriptors = [descriptor.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    let message = [IoSlice::new(&[0; MESSAGE_BYTES])];
    sendmsg(client, &message, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}
