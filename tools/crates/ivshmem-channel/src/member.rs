// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A slot that this program has joined.

use std::sync::Arc;
use std::time::Instant;

use ivshmem::Link;

use crate::seat::{End, Seat};
use crate::{Error, MultiReceiver, Plan, Presence, Receiver, Result, Sender};

/// A slot that this program has joined, until it and all its senders and receivers are dropped.
///
/// The program shows that it lives whenever it calls or waits in [`Sender`] and [`Receiver`]. If it does
/// neither for long, it has to call [`beat`](Self::beat).
#[derive(Debug)]
pub struct Member<L: Link + Clone>(Arc<Seat<L>>);

impl<L: Link + Clone> Member<L> {
    /// Joins whichever of `slots` is free first, preferably one that nobody claims.
    pub(crate) fn join(
        link: &L,
        base: u64,
        plan: &Plan,
        slots: &[u32],
        vector: u32,
    ) -> Result<Self> {
        let seat = |slot: &u32| Seat::new(link.clone(), base, plan.clone(), *slot, vector);
        let mut seats = slots.iter().map(seat).collect::<Result<Vec<_>>>()?;
        let mut pulses = vec![None; seats.len()];
        let begin = Instant::now();
        loop {
            let looks = seats.iter().zip(&mut pulses).enumerate();
            let vacancies = looks.map(|(at, (seat, pulse))| Ok((at, seat.vacancy(pulse)?)));
            let vacancies: Vec<_> = vacancies.collect::<Result<_>>()?;
            let free = vacancies.into_iter().filter_map(|(at, v)| Some((at, v?)));
            if let Some((at, vacancy)) = free.min_by_key(|(_, vacancy)| vacancy.claimed) {
                match seats[at].claim(vacancy.before) {
                    // Somebody was faster.
                    Err(Error::SlotTaken(_)) => {}
                    claimed => return claimed.map(|()| Self(Arc::new(seats.swap_remove(at)))),
                }
            }
            if begin.elapsed() > 2 * plan.lost_after() {
                return Err(Error::SlotTaken(slots.last().copied().unwrap_or(0)));
            }
            std::thread::sleep(plan.heartbeat() / 4);
        }
    }

    /// Our slot.
    pub fn slot(&self) -> u32 {
        self.0.slot()
    }

    /// Our number for this time.
    pub fn incarnation(&self) -> u32 {
        self.0.incarnation()
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
    /// time: what counts is how long its heartbeat was seen to stand still. Does not block.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuch`], [`Error::Link`].
    pub fn presence(&self, slot: u32) -> Result<Presence> {
        self.0.presence(slot)
    }

    /// The sending end of the ring to slot `to`, whether that has other senders or not. Goes on where the last
    /// one was.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuch`] if the layout has no such ring; [`Error::InUse`], [`Error::Reset`],
    /// [`Error::Replaced`], [`Error::Link`].
    pub fn sender(&self, to: u32) -> Result<Sender<L>> {
        let end = End::take(&self.0, self.0.slot(), to)?;
        Sender::new(end, to)
    }

    /// The receiving end of the ring from slot `from`. Begins with the oldest message that was not released.
    ///
    /// # Errors
    ///
    /// As [`sender`](Self::sender).
    pub fn receiver(&self, from: u32) -> Result<Receiver<L>> {
        let end = End::take(&self.0, from, self.0.slot())?;
        match end.place.doze {
            None => Receiver::new(end, from),
            Some(_) => Err(Error::NoSuch(format!(
                "ring from slot {from} alone: it is one from all, so use multi_receiver()"
            ))),
        }
    }

    /// The receiving end of the ring from all other slots. Begins, for each, with the oldest message that was
    /// not released.
    ///
    /// # Errors
    ///
    /// As [`sender`](Self::sender).
    pub fn multi_receiver(&self) -> Result<MultiReceiver<L>> {
        MultiReceiver::new(End::take_multi(&self.0)?)
    }
}
