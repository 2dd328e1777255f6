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
    /// What was asked last, until it is answered.
    asked: Option<Asked>,
}

/// A request whose answer is waited for.
#[derive(Clone, Copy, Debug)]
struct Asked {
    envelope: Envelope,
    /// Incarnation of the server, once there was one.
    server: Option<u32>,
}

/// How long something may take.
struct Limit {
    begin: Instant,
    timeout: Option<Duration>,
}

impl Limit {
    fn new(timeout: Option<Duration>) -> Self {
        let begin = Instant::now();
        Self { begin, timeout }
    }

    fn left(&self) -> Option<Duration> {
        let limit = self.timeout?;
        Some(limit.saturating_sub(self.begin.elapsed()))
    }
}

impl<L: Link + Clone> Client<L> {
    /// Joins a channel of [`layout`](super::layout) in whichever client's slot is free.
    ///
    /// # Errors
    ///
    /// As [`Channel::join_any`], [`Member::sender`] and [`Member::receiver`]; [`Error::NoSuch`] if the channel has another layout,
    /// of which no slot is taken then.
    pub fn join(channel: &Channel<L>, vector: u32) -> Result<Self> {
        super::check(channel.plan())?;
        let layout = channel.plan().layout();
        let slots: Vec<_> = (SERVER + 1..layout.slots()).collect();
        let member = channel.join_any(&slots, vector)?;
        Ok(Self {
            requests: member.sender(SERVER)?,
            replies: member.receiver(SERVER)?,
            member,
            heartbeat: channel.plan().heartbeat(),
            number: 0,
            asked: None,
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
    /// the request may have been carried out, or may be later. [`Error::TimedOut`] if there was no room for it: it was not
    /// sent. [`Error::TooLong`], [`Error::Cancelled`], and those of [`Sender::send`] and [`Receiver::next`].
    pub fn call(&mut self, request: &[u8], timeout: Option<Duration>) -> Result<Vec<u8>> {
        let limit = Limit::new(timeout);
        self.ask_within(request, &limit)?;
        self.answer_within(&limit)
    }

    /// Asks, as the first half of [`call`](Self::call): for those who do something else before they take the answer. What was
    /// asked before is not answered any more. Blocks until there is room.
    ///
    /// # Errors
    ///
    /// Those of [`call`](Self::call). After [`Error::TimedOut`] nothing was sent.
    pub fn ask(&mut self, request: &[u8], timeout: Option<Duration>) -> Result<()> {
        self.ask_within(request, &Limit::new(timeout))
    }

    /// Waits for the answer to what was asked last.
    ///
    /// # Errors
    ///
    /// Those of [`call`](Self::call). After [`Error::NoAnswer`] another call goes on waiting. [`Error::Link`] if nothing was
    /// asked, or it was answered.
    pub fn answer(&mut self, timeout: Option<Duration>) -> Result<Vec<u8>> {
        self.answer_within(&Limit::new(timeout))
    }

    fn ask_within(&mut self, request: &[u8], limit: &Limit) -> Result<()> {
        self.asked = None;
        self.take_late()?;
        self.number += 1;
        let envelope = Envelope {
            client: self.member.incarnation(),
            number: self.number,
        };
        let mut server = None;
        self.watch(&mut server)?;
        self.until(limit, &mut server, |this, left| {
            match envelope.send(&mut this.requests, request, Some(left)) {
                Err(Error::TimedOut) => Ok(None),
                sent => sent.map(Some),
            }
        })?
        .ok_or(Error::TimedOut)?;
        self.asked = Some(Asked { envelope, server });
        Ok(())
    }

    fn answer_within(&mut self, limit: &Limit) -> Result<Vec<u8>> {
        let nothing = || ivshmem::Error::Argument("nothing is asked: ask first".into());
        let mut asked = self.asked.ok_or_else(nothing)?;
        let envelope = asked.envelope;
        let step = |this: &mut Self, left| this.take_answer(envelope, left);
        let answer = self.until(limit, &mut asked.server, step)?;
        // Without an answer the next wait begins with the server that this one saw.
        self.asked = answer.is_none().then_some(asked);
        answer.ok_or(Error::NoAnswer)
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

    /// Repeats `step`, each time for a heartbeat at most, until it has a result; `None` if the time is over.
    fn until<T>(
        &mut self,
        limit: &Limit,
        server: &mut Option<u32>,
        mut step: impl FnMut(&mut Self, Duration) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        loop {
            let left = limit.left();
            let turn = left.map_or(self.heartbeat, |left| left.min(self.heartbeat));
            if let Some(result) = step(self, turn)? {
                return Ok(Some(result));
            }
            // The wait itself does not find out while anything else than the answer comes.
            self.replies.patience.alarm().check()?;
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            self.watch(server)?;
        }
    }

    /// The answer to what was asked in this envelope, which is waited for for `left`; `None` also if it is another one.
    fn take_answer(&mut self, asked: Envelope, left: Duration) -> Result<Option<Vec<u8>>> {
        let mut message = Vec::new();
        if !self.replies.receive(&mut message, Some(left))? {
            return Ok(None);
        }
        let answered = Envelope::take_off(&mut message);
        Ok((answered == Some(asked)).then_some(message))
    }

    /// Whether the server is still the one that was seen, or one has come now.
    fn watch(&self, seen: &mut Option<u32>) -> Result<()> {
        let now = match self.member.presence(SERVER)? {
            Presence::Present { incarnation, .. } => Some(incarnation),
            Presence::Absent | Presence::Lost { .. } => None,
        };
        if seen.is_some() && now != *seen {
            return Err(Error::PeerLost(SERVER));
        }
        *seen = now;
        Ok(())
    }
}
