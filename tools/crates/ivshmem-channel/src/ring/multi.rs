// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The receiving end of a ring with several senders.

use std::sync::atomic::Ordering;

use ivshmem::Memory;

use super::{shared, update, Consumer, Fault, Place, Record, Was, AWAKE, DOZING};

/// A turn lasts for at most this part of a lane's size.
const TURN_PART: u32 = 4;

/// Why a ring with several senders cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiFault {
    /// Index of the lane, if it is a lane's.
    pub lane: Option<usize>,
    /// What it is.
    pub fault: Fault,
}

impl MultiFault {
    fn at(lane: usize) -> impl Fn(Fault) -> Self {
        move |fault| Self {
            lane: Some(lane),
            fault,
        }
    }

    fn shared(fault: impl Into<Fault>) -> Self {
        Self {
            lane: None,
            fault: fault.into(),
        }
    }
}

/// The end of a ring with several senders that receives.
///
/// Senders say by a bit that their lane has messages, so that lanes without any cost nothing. Lanes have turns. A turn
/// ends when the lane is empty or a quarter of its room was received, so that no sender waits for more than that of
/// each of the others.
#[derive(Debug)]
pub struct MultiConsumer<M> {
    memory: M,
    lanes: Vec<Consumer<M>>,
    /// Byte offset in the memory of the words that the lanes share.
    shared: u64,
    /// A bit for each lane that may have messages.
    hot: u64,
    /// A bit for each lane that is corrupt, and was told to be.
    told: u64,
    /// Index of the lane whose turn it is, and the count at which that began.
    turn: usize,
    since: u32,
    /// The count at which a message was found last in that lane.
    found: u32,
}

impl<M: Memory + Clone> MultiConsumer<M> {
    /// Takes over the receiving end: goes on in each lane after the last message that was released in this
    /// generation, or begins. There are 1 to 64 lanes. `shared` is the byte offset in the memory of the words that they
    /// share; `may` is that of [`Consumer::attach`].
    ///
    /// A lane that is corrupt is left out, as [`peek`](Self::peek) says.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`], and those of `may`.
    pub fn attach(
        memory: M,
        lanes: impl IntoIterator<Item = Place>,
        shared: u64,
        may: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<Self, Fault> {
        let attach = |place| {
            let broken = |fault| Ok(Consumer::broken(memory.clone(), place, fault));
            match Consumer::attach(memory.clone(), place, may) {
                Err(fault @ Fault::Corrupt(_)) => broken(fault),
                Err(Fault::Replaced) => {
                    // Whoever takes this end over by the rules has our slot first. If not, it is the lane's sender.
                    may()?;
                    broken(Fault::Corrupt("somebody acts as if it were the receiver"))
                }
                attached => attached,
            }
        };
        let lanes = lanes
            .into_iter()
            .map(attach)
            .collect::<Result<Vec<_>, _>>()?;
        let mut this = Self {
            turn: 0,
            since: lanes[0].position(),
            found: lanes[0].position(),
            hot: 0,
            told: 0,
            lanes,
            memory,
            shared,
        };
        this.look_everywhere();
        Ok(this)
    }

    /// Lane `lane`, to advance and to release.
    ///
    /// # Panics
    ///
    /// If there is no such lane.
    pub fn lane(&mut self, lane: usize) -> &mut Consumer<M> {
        &mut self.lanes[lane]
    }

    /// Looks at each lane once more, whatever their senders said: one that dies after it has published has not said
    /// it.
    pub fn look_everywhere(&mut self) {
        self.hot = u64::MAX >> (64 - self.lanes.len());
    }

    /// A fault of lane `lane` was told: it is left out if it is corrupt.
    pub fn told(&mut self, lane: usize) {
        if self.lanes[lane].is_broken() {
            self.told |= 1 << lane;
        }
    }

    /// Whether every lane is corrupt, and was told to be, so that no message will ever arrive.
    pub fn is_broken(&self) -> bool {
        self.told == u64::MAX >> (64 - self.lanes.len())
    }

    /// Finds the next message, and the index of its lane; `None` if none has arrived. The same again until the
    /// lane was advanced.
    ///
    /// # Errors
    ///
    /// A lane that is found to be corrupt is reported once, and left out from then on.
    #[inline]
    pub fn peek(&mut self) -> Result<Option<(usize, Record)>, MultiFault> {
        if self.is_hot(self.turn) && !self.turn_is_over() {
            if let Some(record) = self.peek_at(self.turn)? {
                self.found = self.lanes[self.turn].position();
                return Ok(Some((self.turn, record)));
            }
        }
        self.take_ready()?;
        while let Some(lane) = self.next_hot() {
            if let Some(record) = self.peek_at(lane)? {
                self.turn = lane;
                self.since = self.lanes[lane].position();
                self.found = self.since;
                return Ok(Some((lane, record)));
            }
        }
        Ok(None)
    }

    fn is_hot(&self, lane: usize) -> bool {
        self.hot & 1 << lane != 0
    }

    fn turn_is_over(&self) -> bool {
        let lane = &self.lanes[self.turn];
        // A message that was found is not taken yet, also where a place that is left out came before it.
        lane.position() != self.found && lane.received_since(self.since) >= lane.size() / TURN_PART
    }

    /// The lane after the one whose turn it was that may have messages.
    fn next_hot(&self) -> Option<usize> {
        let after = (self.turn + 1) % self.lanes.len();
        let later = self.hot >> after << after;
        let bits = if later != 0 { later } else { self.hot };
        // CAST: Below 64.
        (bits != 0).then(|| bits.trailing_zeros() as usize)
    }

    /// Takes what senders said.
    #[inline]
    fn take_ready(&mut self) -> Result<(), MultiFault> {
        let at = self.shared + shared::READY;
        let was = update(&self.memory, at, |ready| Ok((ready != 0).then_some(0)));
        match was.map_err(MultiFault::shared)? {
            Was::Kept(_) => {}
            Was::Replaced(ready) => {
                // The looks come after it, so that a sender that found its bit set is not missed.
                self.memory.fence_after_exchange();
                let valid = u64::MAX >> (64 - self.lanes.len());
                self.hot |= ready & valid;
            }
            // A sender does not keep to the rules, and is no reason to stay here.
            Was::Busy(_) => self.look_everywhere(),
        }
        Ok(())
    }

    /// Asks all senders to ring. Returns the word to sleep on, by its byte offset, and its value; `None` if
    /// there is a message by now.
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek).
    pub fn arm(&mut self) -> Result<Option<(u64, u32)>, MultiFault> {
        let doze = self.shared + shared::DOZE;
        self.doze(DOZING)?;
        self.memory.fence();
        // A sender whose bit is not seen here finds that we sleep.
        match self.peek() {
            Ok(None) => Ok(Some((doze, DOZING))),
            found => {
                self.doze(AWAKE)?;
                found.map(|_| None)
            }
        }
    }

    fn doze(&self, value: u32) -> Result<(), MultiFault> {
        let doze = self.shared + shared::DOZE;
        let store = self.memory.store32(doze, value, Ordering::Relaxed);
        store.map_err(MultiFault::shared)
    }

    #[inline]
    fn peek_at(&mut self, lane: usize) -> Result<Option<Record>, MultiFault> {
        let bit = 1 << lane;
        let found = match self.told & bit != 0 {
            true => Ok(None),
            // Its sender can have spoilt the head, and would be looked at for ever.
            false => self.lanes[lane].peek_own().map_err(MultiFault::at(lane)),
        };
        if found.is_err() {
            self.told(lane);
        }
        if !matches!(found, Ok(Some(_))) {
            self.hot &= !(1 << lane);
        }
        found
    }
}
