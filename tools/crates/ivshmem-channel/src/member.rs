// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A slot that this program has joined.

use std::sync::Arc;

use ivshmem::Link;

use crate::end::End;
use crate::seat::Seat;
use crate::{
    Changes, Error, MultiReceiver, Presence, Publisher, Receiver, Result, Sender, Subscriber,
};

/// A slot that this program has joined, until it and all its senders and receivers are dropped.
///
/// The program shows that it lives whenever it calls or waits in [`Sender`] and [`Receiver`]. If it does
/// neither for long, it has to call [`beat`](Self::beat).
#[derive(Debug)]
pub struct Member<L: Link + Clone>(Arc<Seat<L>>);

impl<L: Link + Clone> Member<L> {
    pub(crate) fn of(seat: Seat<L>) -> Self {
        Self(Arc::new(seat))
    }

    /// Our slot.
    pub fn slot(&self) -> u32 {
        self.0.slot
    }

    /// The way to the memory.
    pub fn link(&self) -> &L {
        &self.0.link
    }

    /// Our number for this time.
    pub fn incarnation(&self) -> u32 {
        self.0.owner.incarnation
    }

    /// Shows that we live, if it is time to. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::Reset`], [`Error::Replaced`], [`Error::Link`].
    pub fn beat(&self) -> Result<()> {
        self.0.check()?;
        self.0.beat()
    }

    /// Who is in slot `slot`. A program that has crashed is found lost only if this is called from time to
    /// time: what counts is how long its heartbeat was seen to stand still, and each call counts for a heartbeat at
    /// most. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuch`], [`Error::Reset`], [`Error::Link`].
    pub fn presence(&self, slot: u32) -> Result<Presence> {
        self.0.presence(slot)
    }

    /// Whether slot `slot` belongs to the program with this number: also while the words are not its own that are there, by
    /// which it shows that it lives.
    pub(crate) fn is_owner(&self, slot: u32, incarnation: u32) -> Result<bool> {
        self.0.is_owner(slot, incarnation)
    }

    /// Who comes and goes, as events.
    pub fn changes(&self) -> Changes<L> {
        Changes::new(&self.0)
    }

    /// The sending end of the ring buffer to slot `to`, whether that has other senders or not. Goes on where the last
    /// one was.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuch`] if the layout has no such ring buffer; [`Error::InUse`], [`Error::Reset`],
    /// [`Error::Replaced`], [`Error::Corrupt`], [`Error::Link`].
    pub fn sender(&self, to: u32) -> Result<Sender<L>> {
        let end = End::take(&self.0, self.0.slot, to)?;
        Sender::new(end, to)
    }

    /// The receiving end of the ring buffer from slot `from`. Begins with the oldest message that was not released.
    ///
    /// # Errors
    ///
    /// As [`sender`](Self::sender).
    pub fn receiver(&self, from: u32) -> Result<Receiver<L>> {
        let end = End::take(&self.0, from, self.0.slot)?;
        match end.place.lane {
            None => Receiver::new(end, from),
            Some(_) => Err(Error::NoSuch(format!(
                "ring buffer from slot {from} alone: it is one from all, so use multi_receiver()"
            ))),
        }
    }

    /// The receiving end of the ring buffer from all other slots. Begins, for each, with the oldest message that was
    /// not released.
    ///
    /// # Errors
    ///
    /// As [`sender`](Self::sender).
    pub fn multi_receiver(&self) -> Result<MultiReceiver<L>> {
        MultiReceiver::new(End::take_multi(&self.0)?)
    }

    /// The publishing end of topic `topic`. Goes on where the last one was.
    ///
    /// # Errors
    ///
    /// As [`sender`](Self::sender); [`Error::NoSuch`] also if the topic is another slot's.
    pub fn publisher(&self, topic: usize) -> Result<Publisher<L>> {
        let (end, _) = End::take_topic(&self.0, topic, true)?;
        Publisher::new(end)
    }

    /// A reading end of topic `topic`, which is another slot's. Begins with the newest value, or with the first one if
    /// there is none yet.
    ///
    /// # Errors
    ///
    /// As [`sender`](Self::sender).
    pub fn subscriber(&self, topic: usize) -> Result<Subscriber<L>> {
        let (end, publisher) = End::take_topic(&self.0, topic, false)?;
        Subscriber::new(end, publisher)
    }
}
