// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Carries packets between the interface and the rings, by a thread for each direction. Each sleeps in the system call that
//! tells of what it carries, so that a packet costs one wake-up at each endpoint, and no timer.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use anyhow::{Context, Result};
use ivshmem_channel::{Error, Message, MultiReceiver};
use rustix::event::{eventfd, EventfdFlags};
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver};

use super::interface::Interface;
use super::outgoing::{Outgoing, Sent};
use super::packet::destination;
use super::status::{warn, Shared};
use crate::end::AnyLink;
use crate::mesh::{Mesh, LOOK, OVERWRITE};
use crate::output::Output;

/// Bytes of the longest packet of IP.
const LONGEST: usize = 1 << 16;

/// Two threads that carry packets until this is dropped. That waits for them, while a sleep or a full ring holds one of them up.
pub struct Pump {
    stop: Arc<Stop>,
    failed: UnboundedReceiver<anyhow::Error>,
    threads: Vec<JoinHandle<()>>,
}

/// Tells the threads to end.
struct Stop {
    asked: AtomicBool,
    /// Is readable then.
    fd: OwnedFd,
}

impl Pump {
    /// Carries between this interface and the rings of this mesh.
    pub fn start(
        mesh: &Mesh,
        interface: Arc<Interface>,
        shared: Arc<Shared>,
        output: Output,
    ) -> Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let stop = Arc::new(Stop {
            asked: AtomicBool::new(false),
            fd: fd.context("cannot make an eventfd")?,
        });
        let mut from_others = FromOthers {
            receiver: mesh.member.multi_receiver()?,
            interface: interface.clone(),
            shared: shared.clone(),
            output,
            stop: stop.clone(),
        };
        let mut from_kernel = FromKernel {
            outgoing: Outgoing::new(mesh)?,
            interface,
            shared,
            stop: stop.clone(),
        };
        let (tell, failed) = unbounded_channel();
        let tell_too = tell.clone();
        let mut this = Self {
            stop,
            failed,
            threads: Vec::new(),
        };
        // Nobody hears of it who is dropping this.
        this.spawn("receive", move || {
            from_others.carry().map_err(|error| tell.send(error)).ok();
        })?;
        this.spawn("send", move || {
            from_kernel
                .carry()
                .map_err(|error| tell_too.send(error))
                .ok();
        })?;
        Ok(this)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = Builder::new().name(name.into()).spawn(work);
        self.threads.push(thread.context("cannot start a thread")?);
        Ok(())
    }

    /// Waits until a thread fails.
    pub async fn failed(&mut self) -> anyhow::Error {
        match self.failed.recv().await {
            Some(error) => error,
            // Both have ended as they should: one heard nobody any more.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop.asked.store(true, Ordering::Relaxed);
        // It fails if it would overflow.
        let _ = rustix::io::write(&self.stop.fd, &1u64.to_ne_bytes());
        for thread in self.threads.drain(..) {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Stop {
    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
}

/// From the other endpoints to the kernel.
struct FromOthers {
    receiver: MultiReceiver<AnyLink>,
    interface: Arc<Interface>,
    shared: Arc<Shared>,
    output: Output,
    stop: Arc<Stop>,
}

impl FromOthers {
    fn carry(&mut self) -> Result<()> {
        let counters = &self.shared.counters;
        let mut buffer = vec![0; LONGEST];
        while !self.stop.is_asked() {
            let length = match self
                .receiver
                .next(Some(LOOK))
                .and_then(|m| take(m, &mut buffer))
            {
                Ok(Some(length)) => length,
                Ok(None) => continue,
                Err(error @ (Error::CorruptLane { .. } | Error::Corrupt(_))) => {
                    warn(self.output, "corrupt", &format!("{OVERWRITE}: {error}"));
                    match error {
                        Error::CorruptLane { .. } => continue,
                        // Nobody is left who can be heard. Looking who is there tells when to come back.
                        _ => return Ok(()),
                    }
                }
                Err(error) => return Err(error.into()),
            };
            // One that is longer is no packet.
            let packet = buffer.get(..length).filter(|p| destination(p).is_some());
            let taken = match packet {
                Some(packet) => self.interface.send(packet)?,
                None => false,
            };
            match taken {
                true => counters.received.count(length),
                false => counters.refused.count(length),
            }
        }
        Ok(())
    }
}

/// Copies a message to the beginning of `buffer`, if it fits, and is done with it. Its length.
fn take(
    message: Option<Message<'_, AnyLink>>,
    buffer: &mut [u8],
) -> ivshmem_channel::Result<Option<usize>> {
    let Some(message) = message else {
        return Ok(None);
    };
    let length = message.len();
    if let Some(part) = buffer.get_mut(..length) {
        message.read(0, part)?;
    }
    message.done()?;
    Ok(Some(length))
}

/// From the kernel to the other endpoints.
struct FromKernel {
    outgoing: Outgoing,
    interface: Arc<Interface>,
    shared: Arc<Shared>,
    stop: Arc<Stop>,
}

impl FromKernel {
    fn carry(&mut self) -> Result<()> {
        let mut buffer = vec![0; LONGEST];
        loop {
            // Before each packet, not after one was looked for in vain: between two that come one by one, that is a call less.
            self.interface.wait(&self.stop.fd)?;
            if self.stop.is_asked() {
                return Ok(());
            }
            if let Some(length) = self.interface.receive(&mut buffer)? {
                self.send(&buffer[..length])?;
            }
        }
    }

    fn send(&mut self, packet: &[u8]) -> Result<()> {
        let counters = &self.shared.counters;
        let (slot, alone) = {
            let state = self.shared.state();
            let slot = destination(packet).and_then(|to| state.routes.slot(to));
            (slot, state.ends.len() < 2)
        };
        let Some(slot) = slot else {
            counters.unknown.count(packet.len());
            return Ok(());
        };
        match self.outgoing.send(slot, packet, alone)? {
            Sent::Yes => counters.sent.count(packet.len()),
            Sent::Full | Sent::Corrupt => counters.full.count(packet.len()),
        }
        Ok(())
    }
}
