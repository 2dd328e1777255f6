// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Waiting for several receivers and senders at a time.

use std::time::{Duration, Instant};

use ivshmem::Link;

use crate::alarm::Alarm;
use crate::{cancel, rpc, Error, MultiReceiver, Receiver, Result, Room, Subscriber};

/// What can be waited for together with others, of one member or of several, in one memory or in several: [`Receiver`],
/// [`MultiReceiver`], [`Subscriber`], [`rpc::Server`], and the [`Room`] of a sender.
///
/// A [`Subscriber`] and an [`rpc::Server`] may find nothing although they are ready: the value was written over meanwhile,
/// or the client that asked has ended.
pub trait Selectable: Selected {}

impl<T: Selected> Selectable for T {}

/// What [`select`] does with a receiver; for this crate only.
pub trait Selected {
    /// Whether `next` gives a message or an error at once.
    fn is_ready(&mut self) -> bool;

    /// Asks to be rung, and hears it from here on. Returns whether it is time to sleep; not so after an error that
    /// [`is_ready`](Self::is_ready) finds again.
    fn arm_alarm(&mut self) -> Result<bool>;

    /// What wakes.
    fn alarm(&self) -> &Alarm;

    /// How long to sleep at most.
    fn sleep_limit(&self) -> Duration;

    /// Comes after a sleep.
    fn awake(&self) -> Result<()>;
}

/// Waits until one of `receivers` has a message. Returns the indices of all for which
/// [`next`](Receiver::next) gives a message or an error at once, or [`reserve`](crate::Sender::reserve) room, in their order;
/// none if the time is over. `None` waits for ever, and zero only looks.
///
/// It looks once, and sleeps then, whatever [`Spin`](crate::Spin) was chosen. In a guest this takes the eventfd of the
/// members' vectors in the [`Device`](ivshmem::Device).
///
/// ```no_run
/// # fn main() -> Result<(), ivshmem_channel::Error> {
/// # use std::time::Duration;
/// # use ivshmem::Endpoint;
/// # use ivshmem_channel::{select, Channel};
/// # let end = Endpoint::open("/dev/ivshmem0")?;
/// # let me = Channel::open(&end, 0)?.join(0, 0)?;
/// let (mut one, mut two) = (me.receiver(1)?, me.receiver(2)?);
/// for ready in select(&mut [&mut one, &mut two], None)? {
///     let receiver = if ready == 0 { &mut one } else { &mut two };
///     if let Some(message) = receiver.next(Some(Duration::ZERO))? {
///         println!("slot {}: {:?}", message.from(), message.to_vec()?);
///         message.done()?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Cancelled`](crate::Error::Cancelled) if that was asked of any of them; [`Error::Link`](crate::Error::Link) if
/// one of them cannot be listened to, for example because there can be no more open files. All other errors of one
/// receiver come out of its own `next`.
pub fn select(
    receivers: &mut [&mut dyn Selectable],
    timeout: Option<Duration>,
) -> Result<Vec<usize>> {
    let begin = Instant::now();
    loop {
        let left = timeout.map(|limit| limit.saturating_sub(begin.elapsed()));
        let ready = ready(receivers);
        if !ready.is_empty() || left.is_some_and(|left| left.is_zero()) {
            return Ok(ready);
        }
        // Also where nobody sleeps, because others write all the time what is no message.
        for receiver in receivers.iter() {
            receiver.alarm().check()?;
        }
        sleep(receivers, left)?;
    }
}

/// The indices of those that are ready.
fn ready(receivers: &mut [&mut dyn Selectable]) -> Vec<usize> {
    let all = receivers.iter_mut().enumerate();
    all.filter_map(|(index, receiver)| receiver.is_ready().then_some(index))
        .collect()
}

/// Sleeps until one of the receivers may be ready, for at most `left`, or until another reason to look.
fn sleep(receivers: &mut [&mut dyn Selectable], left: Option<Duration>) -> Result<()> {
    for receiver in receivers.iter_mut() {
        if !receiver.arm_alarm()? {
            return Ok(());
        }
    }
    let alarms = receivers.iter().map(|receiver| receiver.alarm());
    let fds: Vec<_> = alarms.flat_map(Alarm::fds).collect();
    let limits = receivers.iter().map(|receiver| receiver.sleep_limit());
    let limit = limits.chain(left).min();
    cancel::sleep(&fds, limit.unwrap_or(Duration::MAX));
    for receiver in receivers.iter() {
        // What is wrong comes out of its own call.
        let _ = receiver.awake();
    }
    Ok(())
}

/// What is the same for all that have an end and patience.
macro_rules! by_end {
    ($($field:ident)?) => {
        fn alarm(&self) -> &Alarm {
            self.$($field.)?patience.alarm()
        }

        fn sleep_limit(&self) -> Duration {
            let seat = &self.$($field.)?end.seat;
            seat.sleep_limit(self.alarm().limit(seat))
        }

        fn awake(&self) -> Result<()> {
            self.$($field.)?end.seat.awake()
        }
    };
}

impl<L: Link + Clone> Selected for Receiver<L> {
    fn is_ready(&mut self) -> bool {
        !matches!(self.next(Some(Duration::ZERO)), Ok(None))
    }

    fn arm_alarm(&mut self) -> Result<bool> {
        self.patience.listen(&self.end.seat)?;
        Ok(self.arm().unwrap_or(false))
    }

    by_end!();
}

impl<L: Link + Clone> Selected for MultiReceiver<L> {
    fn is_ready(&mut self) -> bool {
        match self.next(Some(Duration::ZERO)) {
            Ok(found) => found.is_some(),
            Err(error) => {
                self.keep(error);
                true
            }
        }
    }

    fn arm_alarm(&mut self) -> Result<bool> {
        self.patience.listen(&self.end.seat)?;
        Ok(self.arm().unwrap_or_else(|error| {
            self.keep(error);
            false
        }))
    }

    by_end!();
}

impl<L: Link + Clone> Selected for Subscriber<L> {
    fn is_ready(&mut self) -> bool {
        self.has_news().unwrap_or(true)
    }

    fn arm_alarm(&mut self) -> Result<bool> {
        self.patience.listen(&self.end.seat)?;
        Ok(self.arm().unwrap_or(false))
    }

    by_end!();
}

impl<L: Link + Clone> Selected for Room<'_, L> {
    fn is_ready(&mut self) -> bool {
        let room = self.sender.reserve(self.len, Some(Duration::ZERO));
        !matches!(room, Err(Error::TimedOut))
    }

    fn arm_alarm(&mut self) -> Result<bool> {
        self.sender.patience.listen(&self.sender.end.seat)?;
        Ok(self.sender.arm(self.len).unwrap_or(false))
    }

    by_end!(sender);
}

impl<L: Link + Clone> Selected for rpc::Server<L> {
    fn is_ready(&mut self) -> bool {
        self.requests_mut().is_ready()
    }

    fn arm_alarm(&mut self) -> Result<bool> {
        self.requests_mut().arm_alarm()
    }

    fn alarm(&self) -> &Alarm {
        self.requests().alarm()
    }

    fn sleep_limit(&self) -> Duration {
        self.requests().sleep_limit()
    }

    fn awake(&self) -> Result<()> {
        self.requests().awake()
    }
}
