// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Receivers and senders as a stream and a sink, on tokio.

use std::future::{poll_fn, Future};
use std::pin::Pin;
use std::task::{ready, Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_sink::Sink;
use ivshmem::{Bell, Link};
use tokio::io::unix::AsyncFd;
use tokio::io::Interest;
use tokio::time::{sleep, Instant, Sleep};

use crate::seat::Seat;
use crate::{Error, MultiReceiver, Receiver, Result, Sender};

/// Looks in a row before other tasks have their turn: what others write without end, and is no message, does not keep a
/// task for ever.
const LOOKS: u32 = 16;

/// What wakes a task. For this crate only.
#[derive(Debug)]
pub struct Wakeup {
    /// `None` if nobody can ring.
    bell: Option<AsyncFd<Bell>>,
    /// How often to look then.
    interval: Duration,
    timer: Pin<Box<Sleep>>,
    /// The task has slept since the memory was looked at, and it may have been taken away meanwhile.
    slept: bool,
}

impl Wakeup {
    fn of<L: Link>(seat: &Seat<L>) -> Result<Self> {
        // The successor is unsafe, for descriptors that are closed or exchanged behind its back: a bell's is not.
        #[allow(deprecated)]
        let watch = |bell| AsyncFd::with_interest(bell, Interest::READABLE);
        let watched = seat.bell()?.map(watch).transpose().map_err(watching)?;
        Ok(Self {
            bell: watched,
            interval: seat.interval(),
            timer: Box::pin(sleep(Duration::ZERO)),
            slept: false,
        })
    }

    /// Whether there was a ring. If not, the next one wakes the task, from here on.
    fn heard(&self, context: &mut Context<'_>) -> Result<bool> {
        let Some(bell) = &self.bell else {
            return Ok(false);
        };
        match bell.poll_read_ready(context) {
            Poll::Pending => Ok(false),
            Poll::Ready(guard) => {
                let mut guard = guard.map_err(watching)?;
                guard.get_inner().take()?;
                guard.clear_ready();
                Ok(true)
            }
        }
    }

    /// Whether the task has slept since this was asked.
    fn has_slept(&mut self) -> bool {
        std::mem::take(&mut self.slept)
    }

    /// Ready after `limit`, or sooner where nobody can ring.
    fn after(&mut self, limit: Duration, context: &mut Context<'_>) -> Poll<()> {
        self.slept = true;
        let limit = match self.bell {
            Some(_) => limit,
            None => limit.min(self.interval),
        };
        self.timer.as_mut().reset(Instant::now() + limit);
        self.timer.as_mut().poll(context)
    }
}

fn watching(error: std::io::Error) -> Error {
    ivshmem::Error::io(error, "cannot watch a bell").into()
}

/// The messages of a [`Receiver`] or [`MultiReceiver`] as a [`Stream`], which is done with each when it gives it out.
///
/// It ends after an error, except [`Error::CorruptLane`], after which the others' messages come. It shows that the
/// program lives whenever it is polled, and wakes the task for that. It may be dropped at any time: no message is lost
/// by that. That is also how to end it: a [`Cancel`](crate::Cancel) of the receiver ends no stream.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// # use futures_util::StreamExt;
/// # use ivshmem::Endpoint;
/// # use ivshmem_channel::{Channel, Messages};
/// # let end = Endpoint::open("/dev/ivshmem0")?;
/// # let me = Channel::open(&end, 0)?.join(0, 0)?;
/// let mut messages = Messages::new(me.receiver(1)?)?;
/// while let Some(message) = messages.next().await {
///     println!("{:?}", message?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Messages<R> {
    receiver: R,
    wakeup: Wakeup,
    ended: bool,
}

/// A receiver that [`Messages`] can be of: [`Receiver`], whose messages are bytes, and [`MultiReceiver`], where each
/// comes with the slot that sent it. For this crate only.
pub trait Source: Unpin {
    /// What it gives out.
    type Item;

    /// Takes the next message if there is one.
    fn take(&mut self) -> Result<Option<Self::Item>>;

    /// Asks to be rung; returns whether it is time to sleep.
    fn ask(&mut self) -> Result<bool>;

    /// How long to sleep at most.
    fn limit(&self) -> Duration;

    /// Comes after a sleep, before the memory is touched.
    fn awake(&self) -> Result<()>;

    /// What wakes the task.
    fn wakeup(&self) -> Result<Wakeup>;
}

impl<R: Source> Messages<R> {
    /// Of `receiver`. In a guest this takes the eventfd of the member's vector in the [`Device`](ivshmem::Device).
    ///
    /// # Errors
    ///
    /// [`Error::Link`].
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio, or if that was built without `enable_io` and `enable_time`.
    pub fn new(receiver: R) -> Result<Self> {
        Ok(Self {
            wakeup: receiver.wakeup()?,
            receiver,
            ended: false,
        })
    }

    /// The receiver.
    pub fn into_inner(self) -> R {
        self.receiver
    }

    /// Takes what `take` finds.
    fn poll_take<T>(
        &mut self,
        context: &mut Context<'_>,
        mut take: impl FnMut(&mut R) -> Result<Option<T>>,
    ) -> Poll<Result<T>> {
        for _ in 0..LOOKS {
            if self.wakeup.has_slept() {
                self.receiver.awake()?;
            }
            if let Some(message) = take(&mut self.receiver)? {
                return Poll::Ready(Ok(message));
            }
            if self.wakeup.heard(context)? || !self.receiver.ask()? {
                continue;
            }
            ready!(self.wakeup.after(self.receiver.limit(), context));
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<R: Source> Stream for Messages<R> {
    type Item = Result<R::Item>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let taken = ready!(self.poll_take(context, R::take));
        self.ended = !goes_on(&taken);
        Poll::Ready(Some(taken))
    }
}

impl<L: Link + Clone + Unpin> Messages<MultiReceiver<L>> {
    /// As the stream's next item, but takes the message into `buffer`, in place of what was there, and returns the slot that
    /// sent it: without memory of its own for each. It may be dropped while it waits.
    pub async fn receive(&mut self, buffer: &mut Vec<u8>) -> Option<Result<u32>> {
        if self.ended {
            return None;
        }
        let mut take =
            |receiver: &mut MultiReceiver<L>| receiver.receive(buffer, Some(Duration::ZERO));
        let taken = poll_fn(|context| self.poll_take(context, &mut take)).await;
        self.ended = !goes_on(&taken);
        Some(taken)
    }
}

/// Whether others' messages come after this.
fn goes_on<T>(taken: &Result<T>) -> bool {
    matches!(taken, Ok(_) | Err(Error::CorruptLane { .. }))
}

impl<L: Link + Clone + Unpin> Source for Receiver<L> {
    type Item = Vec<u8>;

    fn take(&mut self) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        let found = self.receive(&mut bytes, Some(Duration::ZERO))?;
        Ok(found.then_some(bytes))
    }

    fn ask(&mut self) -> Result<bool> {
        self.arm()
    }

    fn limit(&self) -> Duration {
        self.end.seat.sleep_limit(None)
    }

    fn awake(&self) -> Result<()> {
        self.end.seat.awake()
    }

    fn wakeup(&self) -> Result<Wakeup> {
        Wakeup::of(&self.end.seat)
    }
}

impl<L: Link + Clone + Unpin> Source for MultiReceiver<L> {
    type Item = (u32, Vec<u8>);

    fn take(&mut self) -> Result<Option<(u32, Vec<u8>)>> {
        let mut bytes = Vec::new();
        let from = self.receive(&mut bytes, Some(Duration::ZERO))?;
        Ok(from.map(|from| (from, bytes)))
    }

    fn ask(&mut self) -> Result<bool> {
        self.arm()
    }

    fn limit(&self) -> Duration {
        self.end.seat.sleep_limit(None)
    }

    fn awake(&self) -> Result<()> {
        self.end.seat.awake()
    }

    fn wakeup(&self) -> Result<Wakeup> {
        Wakeup::of(&self.end.seat)
    }
}

/// A [`Sender`] as a [`Sink`] of messages. The receiver sees what was sent by a flush at the latest.
///
/// It does not show that the program lives while it has nothing to do: [`Messages`] of the same member does, or
/// [`Member::beat`](crate::Member::beat).
#[derive(Debug)]
pub struct Outbox<L: Link + Clone, B> {
    sender: Sender<L>,
    /// While it waits for room: it is woken by each ring of this end, most of which are for others of the member.
    wakeup: Option<Wakeup>,
    /// What was sent and is not in the ring.
    waiting: Option<B>,
}

impl<L: Link + Clone + Unpin, B: AsRef<[u8]> + Unpin> Outbox<L, B> {
    /// Into `sender`. In a guest this takes the eventfd of the member's vector in the [`Device`](ivshmem::Device).
    ///
    /// # Errors
    ///
    /// [`Error::Link`].
    ///
    /// # Panics
    ///
    /// As [`Messages::new`].
    pub fn new(sender: Sender<L>) -> Result<Self> {
        // Whether there can be one.
        Wakeup::of(&sender.end.seat)?;
        Ok(Self {
            wakeup: None,
            sender,
            waiting: None,
        })
    }

    /// Sends a message of these parts, one after the other: without a copy of its own. It may be dropped while it waits for
    /// room: then nothing was sent.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`], without a limit.
    pub async fn send_parts(&mut self, parts: &[&[u8]]) -> Result<()> {
        poll_fn(|context| self.poll_queue(context)).await?;
        poll_fn(|context| self.poll_parts(parts, context)).await?;
        self.sender.flush()
    }

    /// Puts what waits into the ring.
    fn poll_queue(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(message) = self.waiting.take() else {
            return Poll::Ready(Ok(()));
        };
        let queued = self.poll_parts(&[message.as_ref()], context);
        // What cannot be sent is not tried again.
        if queued.is_pending() {
            self.waiting = Some(message);
        }
        queued
    }

    /// Puts a message of these parts into the ring.
    fn poll_parts(&mut self, parts: &[&[u8]], context: &mut Context<'_>) -> Poll<Result<()>> {
        let len = parts.iter().map(|part| part.len()).sum();
        let queued = loop {
            if self.wakeup.as_mut().is_some_and(Wakeup::has_slept) {
                self.sender.end.seat.awake()?;
            }
            match self.sender.queue_parts(parts, Some(Duration::ZERO)) {
                Err(Error::TimedOut) => {}
                other => break other,
            }
            let wakeup = match &mut self.wakeup {
                Some(wakeup) => wakeup,
                none => none.insert(Wakeup::of(&self.sender.end.seat)?),
            };
            if wakeup.heard(context)? || !self.sender.arm(len)? {
                continue;
            }
            let limit = self.sender.end.seat.sleep_limit(None);
            ready!(wakeup.after(limit, context));
        };
        self.wakeup = None;
        Poll::Ready(queued)
    }
}

impl<L: Link + Clone + Unpin, B: AsRef<[u8]> + Unpin> Sink<B> for Outbox<L, B> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_queue(context)
    }

    fn start_send(mut self: Pin<&mut Self>, message: B) -> Result<()> {
        self.waiting = Some(message);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_queue(context))?;
        Poll::Ready(self.sender.flush())
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_flush(context)
    }
}
