// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How a sending end is taken over, from a program that has ended or from one that may still run.

use std::sync::atomic::Ordering;

use ivshmem::Memory;

use super::Producer;
use crate::ring::count::Cursor;
use crate::ring::quarantine::Quarantine;
use crate::ring::record::Header;
use crate::ring::{
    control, replace, take_over, Fault, Owned, Place, BUSY, MOST_TRIES, NEVER, RECORD,
};

/// What is known of the program that had this end before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// It has ended: nothing that it began will still happen.
    Ended,
    /// It may go on at any time with what it was doing: its machine may only be paused.
    MayRun,
}

impl<M: Memory> Producer<M> {
    /// Takes over the sending end: goes on where the last one was in this generation, or begins. `may` says whether
    /// this program is still the one whose end it is, and is asked before each step.
    ///
    /// # Errors
    ///
    /// [`Fault::Corrupt`], [`Fault::Access`], and those of `may`.
    pub fn attach(
        memory: M,
        place: Place,
        before: Handover,
        may: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<Self, Fault> {
        // Nobody publishes any more in the place of whom we replace, once this is done: look at all else after it.
        let reach = take_over(&memory, place.word(control::REACH), may)?;
        let origin = place.word(control::ORIGIN);
        let generation = memory.load32(origin, Ordering::Acquire)?;
        let start = Cursor { count: 0, at: 0 };
        let mut this = Self {
            memory,
            place,
            counts: place.counts(),
            next: start,
            first: start,
            header: 0,
            told: 0,
            reach,
            quarantine: Quarantine::default(),
            head: 0,
            met: false,
            broken: None,
        };
        match generation == place.generation {
            true => this.go_on(before)?,
            false => this.begin(generation, before)?,
        }
        Ok(this)
    }

    /// For the first producer of a generation.
    fn begin(&mut self, generation: u32, before: Handover) -> Result<(), Fault> {
        self.set_reach(0)?;
        let (memory, place) = (&self.memory, &self.place);
        let may_run = before == Handover::MayRun;
        self.quarantine = Quarantine::begin(memory, place, may_run, &|| self.is_ours())?;
        self.clear_header(self.first)?;
        let wake = self.place.word(control::SPACE_WAKE);
        self.memory.store32(wake, NEVER, Ordering::Relaxed)?;
        let origin = self.place.word(control::ORIGIN);
        let new = self.place.generation;
        match self.memory.compare_exchange32(origin, generation, new)? {
            // Whom we replaced can have come as far as this, and no further.
            Err(other) if other != new => Err(Fault::Replaced),
            _ => Ok(()),
        }
    }

    /// For its successors: finds the end of what was published, and a place that nobody else writes.
    fn go_on(&mut self, before: Handover) -> Result<(), Fault> {
        let counts = self.counts;
        self.quarantine = Quarantine::load(&self.memory, &self.place)?;
        let impossible = Fault::Corrupt("the receiver's head is impossible");
        let head = counts.cursor(self.load_head()?).ok_or(impossible)?;
        (self.head, self.told) = (head.count, head.count);
        let mut end = head;
        let mut tries = 0..MOST_TRIES;
        loop {
            let at = self.place.data(end);
            match self.memory.load64(at, Ordering::Acquire)? {
                0 => {}
                word => {
                    end = self.behind(end, word)?;
                    continue;
                }
            }
            let start = match before {
                Handover::Ended => {
                    self.set_reach(end.count)?;
                    end
                }
                // Its last record may still be written to, up to its reach.
                Handover::MayRun => self.leave_out(end)?,
            };
            if self.skip_to(end, start)? {
                (self.first, self.next) = (start, start);
                return Ok(());
            }
            // Whom we replace cannot raise its reach any more: by the rules it publishes a few times at most.
            if tries.next().is_none() {
                return Err(BUSY);
            }
        }
    }

    /// Where the record at `cursor` ends, whose header is `word`.
    fn behind(&self, cursor: Cursor, word: u64) -> Result<Cursor, Fault> {
        let header = Header::of_word(word, &self.place, cursor.count);
        let len = header.and_then(|header| header.record_len(&self.place));
        let len = len.map_err(Fault::Corrupt)?;
        let counts = self.counts;
        let end = counts.after(cursor, len);
        match counts.distance(self.head, cursor.count) + len <= self.place.size - RECORD {
            true => Ok(end),
            false => Err(Fault::Corrupt("there are more messages than can be")),
        }
    }

    /// Leaves out what a predecessor may still write, from `end` on. Returns where it ends.
    fn leave_out(&mut self, end: Cursor) -> Result<Cursor, Fault> {
        let counts = self.counts;
        let impossible = Fault::Corrupt("the sender's reach is impossible");
        let reach = counts.cursor(self.reach.count).ok_or(impossible)?;
        let len = counts.distance(end.count, reach.count);
        let used = counts.distance(self.head, end.count);
        if len > self.place.size - RECORD - used {
            return Err(impossible);
        }
        if len > 0 {
            let (memory, place) = (&self.memory, &self.place);
            let is_ours = || is_ours(memory, place, self.reach);
            self.quarantine
                .add(memory, place, (end.at, len), &is_ours)?;
        }
        Ok(reach)
    }

    /// Says at `end` that the next record is at `start`. `false` if something was published there meanwhile.
    fn skip_to(&self, end: Cursor, start: Cursor) -> Result<bool, Fault> {
        if start == end {
            return Ok(true);
        }
        self.clear_header(start)?;
        let bytes = self.counts.distance(end.count, start.count);
        let header = Header::Skip(bytes).to_word(&self.place, end.count);
        let at = self.place.data(end);
        Ok(self.memory.compare_exchange64(at, 0, header)?.is_ok())
    }

    /// Says that nothing was published at `cursor`, where nothing was in this generation.
    fn clear_header(&self, cursor: Cursor) -> Result<(), Fault> {
        let at = self.place.data(cursor);
        replace(&self.memory, at, &|| self.is_ours(), |_| Some(0))
    }

    /// Whether nobody has taken this end over yet.
    fn is_ours(&self) -> Result<(), Fault> {
        is_ours(&self.memory, &self.place, self.reach)
    }
}

fn is_ours(memory: &impl Memory, place: &Place, reach: Owned) -> Result<(), Fault> {
    let word = memory.load64(place.word(control::REACH), Ordering::Acquire)?;
    match word == reach.to_word() {
        true => Ok(()),
        false => Err(Fault::Replaced),
    }
}
