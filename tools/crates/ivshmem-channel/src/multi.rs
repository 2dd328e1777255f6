// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The receiving end of a ring buffer with several senders, with doorbell and time.

use std::sync::Arc;
use std::time::Duration;

use ivshmem::Link;

use crate::end::End;
use crate::receiver::{give_back, of_lane, Message};
use crate::ring::{MultiConsumer, MultiFault};
use crate::seat::Seat;
use crate::wait::{Patience, Spin};
use crate::{Cancel, Error, Result};

/// The receiving end of a ring buffer with several senders.
///
/// The messages of each sender arrive in their order; between those of two senders there is none. Senders have
/// turns: one turn ends when no more of the sender's messages have arrived, or a quarter of its part was received, so
/// that none is left waiting. A sender gets back the room of messages that are [done](Message::done) when its turn ends,
/// by [`release`](Self::release), and when this is dropped.
///
/// A sender that crashes or is hostile has no influence on what others send. If this program crashes, the next
/// one gets all messages again whose room was not given back.
///
/// ```no_run
/// # fn main() -> Result<(), ivshmem_channel::Error> {
/// use ivshmem::Endpoint;
/// use ivshmem_channel::{Channel, Error, Layout};
///
/// let end = Endpoint::open("/dev/ivshmem0")?;
/// // Slots 1 to 3 send to slot 0, each by `sender(0)`.
/// let layout = Layout::new(4).multi_ring(0, 1 << 16);
/// let me = Channel::open_or_create(&end, 0, &layout)?.join(0, 0)?;
/// let mut receiver = me.multi_receiver()?;
/// loop {
///     match receiver.next(None) {
///         Ok(Some(message)) => {
///             println!("slot {}: {:?}", message.from(), message.to_vec()?);
///             message.done()?;
///         }
///         Ok(None) => {}
///         // That one alone: the others go on.
///         Err(Error::CorruptLane { from, what }) => eprintln!("slot {from}: {what}"),
///         Err(other) => return Err(other),
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct MultiReceiver<L: Link + Clone> {
    ring: MultiConsumer<L>,
    /// The sender of each lane.
    senders: Vec<u32>,
    pub(crate) end: End<L>,
    pub(crate) patience: Patience,
    /// An error that was found, and not told yet.
    kept: Option<Error>,
    /// The heartbeat after which it was looked at all lanes, whatever their senders said.
    looked: u64,
}

impl<L: Link + Clone> MultiReceiver<L> {
    pub(crate) fn new(end: End<L>) -> Result<Self> {
        let (senders, places): (Vec<_>, Vec<_>) = end.lanes().unzip();
        let link = end.seat.link.clone();
        let lane = end.place.lane.expect("one of a ring with several senders");
        let seat = &end.seat;
        let ring = MultiConsumer::attach(link, places, lane.shared, &mut seat.may());
        Ok(Self {
            ring: ring.map_err(|fault| seat.explain(fault))?,
            patience: Patience::default(),
            kept: None,
            looked: 0,
            senders,
            end,
        })
    }

    /// How long to look for a message before sleeping.
    pub fn set_spin(&mut self, spin: Spin) {
        self.patience.set_spin(spin);
    }

    /// Lets another thread end the waiting for a message, also in calls to come, which give [`Error::Cancelled`] then. Messages
    /// that are there are still received. In a guest this takes the eventfd of the member's vector in the
    /// [`Device`](ivshmem::Device).
    pub fn set_cancel(&mut self, cancel: &Cancel) {
        self.patience.set_cancel(cancel);
    }

    /// Waits for the next message of anybody; `None` if the time is over. A limit of `None` waits for ever, and
    /// zero only looks. The same message again until it is [done](Message::done).
    ///
    /// # Errors
    ///
    /// [`Error::CorruptLane`], once or twice for each sender; call again for the others' messages. [`Error::Corrupt`] when
    /// all are. [`Error::Reset`], [`Error::Replaced`], [`Error::Link`].
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Option<Message<'_, L>>> {
        if let Some(error) = self.kept.take() {
            return Err(error);
        }
        let (seat, senders) = (&self.end.seat, &self.senders);
        seat.attend()?;
        let explain = |fault| explain(seat, senders, fault);
        let looked = &mut self.looked;
        let mut look = |ring: &mut MultiConsumer<L>| {
            // Also where nobody sleeps: a sender that dies after it has published has not said it.
            if *looked != seat.last_beat() {
                *looked = seat.last_beat();
                ring.look_everywhere();
            }
            if ring.is_broken() {
                return Err(Error::Corrupt("no sender is left that is not"));
            }
            ring.peek().map_err(explain)
        };
        let found = match look(&mut self.ring)? {
            Some(found) => Some(found),
            None => self
                .patience
                .wait(seat, timeout, &mut self.ring, look, |ring, idle| {
                    if idle {
                        ring.look_everywhere();
                    }
                    arm(ring, seat, senders)
                })?,
        };
        Ok(found.map(|(lane, record)| Message {
            ring: self.ring.lane(lane),
            seat,
            from: senders[lane],
            several: true,
            record,
        }))
    }

    /// Takes the next message of anybody into `buffer`, in place of what was there, and is done with it. Returns
    /// the slot that sent it; `None` if the time is over.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn receive(
        &mut self,
        buffer: &mut Vec<u8>,
        timeout: Option<Duration>,
    ) -> Result<Option<u32>> {
        let Some(message) = self.next(timeout)? else {
            return Ok(None);
        };
        let from = message.from();
        message.take(buffer)?;
        Ok(Some(from))
    }

    /// As [`receive`](Self::receive), into a slice: returns the slot that sent the message, and its length; `None` if the
    /// time is over.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next), and [`Error::TooLong`] if it does not fit: it is still the next one then.
    pub fn receive_into(
        &mut self,
        buffer: &mut [u8],
        timeout: Option<Duration>,
    ) -> Result<Option<(u32, usize)>> {
        let Some(message) = self.next(timeout)? else {
            return Ok(None);
        };
        let from = message.from();
        Ok(Some((from, message.take_into(buffer)?)))
    }

    /// Takes one message after the other, with the slot that sent it, and is done with each. Ends when there is none for
    /// `timeout`, and after an error, except [`Error::CorruptLane`], after which the others' messages come.
    ///
    /// Errors are those of [`next`](Self::next).
    pub fn iter(
        &mut self,
        timeout: Option<Duration>,
    ) -> impl Iterator<Item = Result<(u32, Vec<u8>)>> + '_ {
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let mut bytes = Vec::new();
            let found = self.receive(&mut bytes, timeout);
            ended = !matches!(found, Ok(Some(_)) | Err(Error::CorruptLane { .. }));
            found.map(|from| Some((from?, bytes))).transpose()
        })
    }

    /// For event loops: has the next message of anybody ring this end once; see [`Receiver::arm`](crate::Receiver::arm).
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn arm(&mut self) -> Result<bool> {
        let (seat, senders) = (&self.end.seat, &self.senders);
        seat.attend()?;
        // The lanes of senders that died before they could say that they had sent something are among them.
        self.ring.look_everywhere();
        Ok(arm(&mut self.ring, seat, senders)?.is_some())
    }

    /// Gives all senders the room of messages that are done, and rings those that wait for room.
    ///
    /// # Errors
    ///
    /// [`Error::CorruptLane`], [`Error::Link`], [`Error::Reset`], [`Error::Replaced`].
    pub fn release(&mut self) -> Result<()> {
        release(&mut self.ring, &self.end.seat, &self.senders)
    }

    /// Has the next call of [`next`](Self::next) give an error that was found before.
    pub(crate) fn keep(&mut self, error: Error) {
        self.kept = Some(error);
    }
}

impl<L: Link + Clone> Drop for MultiReceiver<L> {
    fn drop(&mut self) {
        let seat = Arc::clone(&self.end.seat);
        seat.at_end(|| self.release());
    }
}

/// Asks all senders to ring. One of them may wait itself, for the room of what it had to leave out, which no message
/// gives back.
fn arm<L: Link + Clone>(
    ring: &mut MultiConsumer<L>,
    seat: &Seat<L>,
    senders: &[u32],
) -> Result<Option<(u64, u32)>> {
    let armed = ring.arm();
    let armed = armed.map_err(|fault| explain(seat, senders, fault))?;
    release(ring, seat, senders)?;
    Ok(armed)
}

/// Gives each sender the room of messages that are done, and rings those that wait for room.
fn release<L: Link + Clone>(
    ring: &mut MultiConsumer<L>,
    seat: &Seat<L>,
    senders: &[u32],
) -> Result<()> {
    for (lane, from) in senders.iter().copied().enumerate() {
        // This was told once, and concerns that lane alone.
        if ring.lane(lane).is_replaced() {
            continue;
        }
        let given = give_back(ring.lane(lane), seat, from);
        given.map_err(|error| {
            ring.told(lane);
            of_lane(from, error)
        })?;
    }
    Ok(())
}

fn explain<L: Link>(seat: &Seat<L>, senders: &[u32], error: MultiFault) -> Error {
    let explained = seat.explain(error.fault);
    match error.lane {
        Some(lane) => of_lane(senders[lane], explained),
        None => explained,
    }
}
