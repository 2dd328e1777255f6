// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who answers.

use std::time::{Duration, Instant};

use ivshmem::Link;

use super::envelope::{Envelope, SERVER};
use crate::{Cancel, Channel, Error, Member, MultiReceiver, Result, Sender};

/// A request. It need not be answered before others are taken.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is asked: bytes of another program, which need not keep to anything.
    pub body: Vec<u8>,
    from: u32,
    envelope: Envelope,
}

impl Request {
    /// The slot of the client.
    pub fn from(&self) -> u32 {
        self.from
    }
}

/// Messages that are no request, at one look: so that no client keeps the server for longer than it wants to wait.
const MOST: u32 = 64;

/// Who answers.
#[derive(Debug)]
pub struct Server<L: Link + Clone> {
    member: Member<L>,
    requests: MultiReceiver<L>,
    /// To each client, from slot 1 on; `None` if its ring buffer is corrupt.
    replies: Vec<Option<Sender<L>>>,
}

impl<L: Link + Clone> Server<L> {
    /// Joins a channel of [`layout`](super::layout) as its server.
    ///
    /// # Errors
    ///
    /// As [`Channel::join`], [`Member::sender`] and [`Member::multi_receiver`]; [`Error::NoSuch`] if the channel has another
    /// layout, of which no slot is taken then. A ring buffer for answers that is corrupt is none: its client gets no answers.
    pub fn join(channel: &Channel<L>, vector: u32) -> Result<Self> {
        super::check(channel.plan())?;
        let member = channel.join(SERVER, vector)?;
        let clients = SERVER + 1..channel.plan().layout().slots();
        Ok(Self {
            requests: member.multi_receiver()?,
            replies: clients
                .map(|slot| match member.sender(slot) {
                    Err(Error::Corrupt(_)) => Ok(None),
                    sender => sender.map(Some),
                })
                .collect::<Result<_>>()?,
            member,
        })
    }

    /// Our slot.
    pub fn member(&self) -> &Member<L> {
        &self.member
    }

    /// Lets another thread end the waiting for requests; see [`MultiReceiver::set_cancel`].
    pub fn set_cancel(&mut self, cancel: &Cancel) {
        self.requests.set_cancel(cancel);
    }

    /// Waits for the next request of a client that has not ended since; `None` if the time is over. What is no request
    /// is left out.
    ///
    /// # Errors
    ///
    /// As [`MultiReceiver::next`]: after [`Error::CorruptLane`] the others are still served.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Request>> {
        let begin = Instant::now();
        loop {
            for _ in 0..MOST {
                let left = timeout.map(|limit| limit.saturating_sub(begin.elapsed()));
                let mut body = Vec::new();
                let Some(from) = self.requests.receive(&mut body, left)? else {
                    return Ok(None);
                };
                if let Some(request) = self.request(from, body)? {
                    return Ok(Some(request));
                }
            }
            self.requests.patience.alarm().check()?;
            if timeout.is_some_and(|limit| begin.elapsed() >= limit) {
                return Ok(None);
            }
        }
    }

    /// The request that a message is; `None` if it is none, or of a client that has ended.
    fn request(&self, from: u32, mut body: Vec<u8>) -> Result<Option<Request>> {
        let Some(envelope) = Envelope::take_off(&mut body) else {
            return Ok(None);
        };
        let is_there = self.is_there(from, envelope.client)?;
        Ok(is_there.then_some(Request {
            body,
            from,
            envelope,
        }))
    }

    /// Answers. Returns whether the answer is on its way: not if the client has ended or does not take its answers. Does
    /// not wait for it.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`], [`Error::Reset`], [`Error::Replaced`], [`Error::Link`].
    pub fn reply(&mut self, to: &Request, answer: &[u8]) -> Result<bool> {
        if !self.is_there(to.from, to.envelope.client)? {
            return Ok(false);
        }
        // A client that spoils its own ring buffer gets no answers, and is no reason not to serve the others.
        let Some(sender) = &mut self.replies[(to.from - SERVER - 1) as usize] else {
            return Ok(false);
        };
        match to.envelope.send(sender, answer, Some(Duration::ZERO)) {
            Err(Error::TimedOut | Error::Corrupt(_)) => Ok(false),
            other => other.map(|()| true),
        }
    }

    pub(crate) fn requests(&self) -> &MultiReceiver<L> {
        &self.requests
    }

    pub(crate) fn requests_mut(&mut self) -> &mut MultiReceiver<L> {
        &mut self.requests
    }

    /// Whether slot `from` is still that client's. One that is silent may only be slow.
    fn is_there(&self, from: u32, client: u32) -> Result<bool> {
        self.member.is_owner(from, client)
    }
}
