// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who asks.

use std::time::{Duration, Instant};

use ivshmem::Link;

use super::envelope::{Envelope, SERVER};
use crate::ring::RECORD;
use crate::{Cancel, Channel, Error, Member, Presence, Receiver, Result, Sender};

/// Who asks.
#[derive(Debug)]
pub struct Client<L: Link + Clone> {
    member: Member<L>,
    requests: Sender<L>,
    replies: Receiver<L>,
    /// How often to look for the server while there is no answer.
    heartbeat: Duration,
    number: u64,
}

/// A call that is not over.
struct Call {
    begin: Instant,
    timeout: Option<Duration>,
    /// Incarnation of the server, once there was one.
    server: Option<u32>,
}

impl<L: Link + Clone> Client<L> {
    /// Joins a channel of [`layout`](super::layout) in whichever client's slot is free.
    ///
    /// # Errors
    ///
    /// As [`Channel::join_any`], [`Member::sender`] and [`Member::receiver`].
    pub fn join(channel: &Channel<L>, vector: u32) -> Result<Self> {
        let layout = channel.plan().layout();
        let slots: Vec<_> = (SERVER + 1..layout.slots()).collect();
        let member = channel.join_any(&slots, vector)?;
        Ok(Self {
            requests: member.sender(SERVER)?,
            replies: member.receiver(SERVER)?,
            member,
            heartbeat: channel.plan().heartbeat(),
            number: 0,
        })
    }

    /// Our slot.
    pub fn member(&self) -> &Member<L> {
        &self.member
    }

    /// Lets another thread end calls, which give [`Error::Cancelled`] then; see [`Receiver::set_cancel`].
    pub fn set_cancel(&mut self, cancel: &Cancel) {
        self.requests.set_cancel(cancel);
        self.replies.set_cancel(cancel);
    }

    /// Asks, and waits for the answer. `None` waits for ever, but not for a server that is gone; a server that has not
    /// come yet is waited for.
    ///
    /// # Errors
    ///
    /// [`Error::PeerLost`] if the server ended or was replaced meanwhile, and [`Error::NoAnswer`] if the time is over:
    /// the request may have been carried out, or may be later. [`Error::TooLong`], [`Error::Cancelled`], and those of
    /// [`Sender::send`] and [`Receiver::next`].
    pub fn call(&mut self, request: &[u8], timeout: Option<Duration>) -> Result<Vec<u8>> {
        self.take_late()?;
        self.number += 1;
        let asked = Envelope {
            client: self.member.incarnation(),
            number: self.number,
        };
        let mut call = Call {
            begin: Instant::now(),
            timeout,
            server: None,
        };
        self.watch(&mut call)?;
        self.until(&mut call, |this, limit| {
            match asked.send(&mut this.requests, request, Some(limit)) {
                Err(Error::TimedOut) => Ok(None),
                sent => sent.map(Some),
            }
        })?;
        self.until(&mut call, |this, limit| this.answer(asked, limit))
    }

    /// Takes what comes too late for earlier calls, which has the room of answers: not more than the ring holds, for a
    /// server that does not keep to the rules can send without end.
    fn take_late(&mut self) -> Result<()> {
        let mut late = Vec::new();
        let mut most = self.replies.size();
        while most > 0 && self.replies.receive(&mut late, Some(Duration::ZERO))? {
            most = most.saturating_sub(late.len() + RECORD as usize);
        }
        Ok(())
    }

    /// Repeats `step`, each time for a heartbeat at most, until it has a result or there is none to wait for.
    fn until<T>(
        &mut self,
        call: &mut Call,
        mut step: impl FnMut(&mut Self, Duration) -> Result<Option<T>>,
    ) -> Result<T> {
        loop {
            let left = call
                .timeout
                .map(|limit| limit.saturating_sub(call.begin.elapsed()));
            let limit = left.map_or(self.heartbeat, |left| left.min(self.heartbeat));
            if let Some(result) = step(self, limit)? {
                return Ok(result);
            }
            // The wait itself does not find out while anything else than the answer comes.
            self.replies.patience.alarm().check()?;
            if left.is_some_and(|left| left.is_zero()) {
                return Err(Error::NoAnswer);
            }
            self.watch(call)?;
        }
    }

    /// The answer to `asked`, which is waited for for `limit`; `None` also if it is another one.
    fn answer(&mut self, asked: Envelope, limit: Duration) -> Result<Option<Vec<u8>>> {
        let mut message = Vec::new();
        if !self.replies.receive(&mut message, Some(limit))? {
            return Ok(None);
        }
        let answered = Envelope::take_off(&mut message);
        Ok((answered == Some(asked)).then_some(message))
    }

    /// Whether the server is still the one, or one has come now.
    fn watch(&self, call: &mut Call) -> Result<()> {
        let now = match self.member.presence(SERVER)? {
            Presence::Present { incarnation, .. } => Some(incarnation),
            Presence::Absent | Presence::Lost { .. } => None,
        };
        if call.server.is_some() && now != call.server {
            return Err(Error::PeerLost(SERVER));
        }
        call.server = now;
        Ok(())
    }
}
