// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The receiving end of a ring with several senders.

use std::sync::atomic::Ordering;

use ivshmem::Memory;

use super::{Consumer, Fault, Place, Record, DOZING};

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
}

/// The end of a ring with several senders that receives.
///
/// Lanes have turns. A turn lasts for what was in the lane when it began, so that no sender waits for more than
/// what fits into each of the other lanes.
#[derive(Debug)]
pub struct MultiConsumer<M> {
    memory: M,
    lanes: Vec<Consumer<M>>,
    doze: u64,
    /// Index of the lane whose turn it is.
    turn: usize,
}

impl<M: Memory + Clone> MultiConsumer<M> {
    /// Takes over the receiving end: goes on in each lane after the last message that was released in this
    /// generation, or begins. There is at least one lane. `doze` is the byte offset of the doze word in the
    /// memory.
    ///
    /// # Errors
    ///
    /// [`Fault::Access`].
    pub fn attach(
        memory: M,
        lanes: impl IntoIterator<Item = Place>,
        doze: u64,
    ) -> Result<Self, Fault> {
        let attach = |place| Consumer::attach(memory.clone(), place);
        let lanes = lanes
            .into_iter()
            .map(attach)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            // After the last one it is the first one's.
            turn: lanes.len().saturating_sub(1),
            lanes,
            memory,
            doze,
        })
    }

    /// Lane `lane`, to advance and to release.
    ///
    /// # Panics
    ///
    /// If there is no such lane.
    pub fn lane(&mut self, lane: usize) -> &mut Consumer<M> {
        &mut self.lanes[lane]
    }

    /// The lane whose turn is over, if it is: to be released before [`peek`](Self::peek), so that its sender
    /// need not wait for the room until it has another one.
    pub fn ended_turn(&self) -> Option<usize> {
        let lane = &self.lanes[self.turn];
        (!lane.has_more()).then_some(self.turn)
    }

    /// Whether every lane is corrupt, so that no message will ever arrive.
    pub fn is_broken(&self) -> bool {
        self.lanes.iter().all(Consumer::is_broken)
    }

    /// Finds the next message, and the index of its lane; `None` if none has arrived. The same again until the
    /// lane was advanced.
    ///
    /// # Errors
    ///
    /// A lane that is found to be corrupt is reported once, and left out from then on.
    pub fn peek(&mut self) -> Result<Option<(usize, Record)>, MultiFault> {
        let first = match self.ended_turn() {
            Some(ended) => ended + 1,
            None => self.turn,
        };
        for step in 0..self.lanes.len() {
            let lane = (first + step) % self.lanes.len();
            if let Some(record) = self.peek_at(lane)? {
                self.turn = lane;
                return Ok(Some((lane, record)));
            }
        }
        Ok(None)
    }

    /// Asks all senders to ring. Returns the word to sleep on, by its byte offset, and its value; `None` if
    /// there is a message by now.
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek).
    pub fn arm(&mut self) -> Result<Option<(u64, u32)>, MultiFault> {
        let store = self.memory.store32(self.doze, DOZING, Ordering::Relaxed);
        store.map_err(|error| MultiFault {
            lane: None,
            fault: error.into(),
        })?;
        // Arming has a fence between its store and its look. So a sender whose message is not seen here finds
        // its lane armed, and changes the word after this store: it cannot be lost.
        for lane in 0..self.lanes.len() {
            let consumer = &mut self.lanes[lane];
            if consumer.is_broken() {
                continue;
            }
            let armed = consumer.arm().map_err(MultiFault::at(lane))?;
            if armed.is_none() {
                return Ok(None);
            }
        }
        Ok(Some((self.doze, DOZING)))
    }

    fn peek_at(&mut self, lane: usize) -> Result<Option<Record>, MultiFault> {
        let consumer = &mut self.lanes[lane];
        if consumer.is_broken() {
            return Ok(None);
        }
        consumer.peek().map_err(MultiFault::at(lane))
    }
}
