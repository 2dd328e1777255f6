// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The end of a topic that publishes.

use std::sync::atomic::Ordering;

use ivshmem::Memory;

use super::place::{after, control, Buffer, Topic};
use crate::ring::{replace, take_over, update, Fault, Handover, Owned, Was};

/// The end of a topic that publishes.
#[derive(Debug)]
pub struct Writer<M> {
    memory: M,
    topic: Topic,
    /// The number of the newest value, and our epoch.
    newest: Owned,
    /// The buffers that are ours to write, and what their words are.
    buffers: Vec<(u32, Buffer)>,
    /// Index among them of the one to write next. It is not the one with the newest value.
    next: usize,
}

impl<M: Memory> Writer<M> {
    /// Takes over the publishing end: goes on where the last one was in this generation, or begins. `before` and `may`
    /// are those of [`Producer::attach`](crate::ring::Producer::attach).
    ///
    /// # Errors
    ///
    /// [`Fault::Corrupt`] if fewer than two buffers are left; [`Fault::Access`], and those of `may`.
    pub fn attach(
        memory: M,
        topic: Topic,
        before: Handover,
        may: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<Self, Fault> {
        // Whom we replace cannot announce any more once this is done: look at all else after it.
        let newest = take_over(&memory, topic.word(control::NEWEST), may)?;
        let generation = memory.load32(topic.word(control::ORIGIN), Ordering::Acquire)?;
        let mut this = Self {
            memory,
            topic,
            newest,
            buffers: Vec::new(),
            next: 0,
        };
        match generation == topic.generation {
            true => this.go_on(before)?,
            false => this.begin(generation)?,
        }
        Ok(this)
    }

    /// For the first writer of a generation.
    fn begin(&mut self, before: u32) -> Result<(), Fault> {
        self.announce(0)?;
        for index in 0..self.topic.buffers {
            self.set(index, Buffer::Empty)?;
            self.buffers.push((index, Buffer::Empty));
        }
        let (origin, new) = (self.topic.word(control::ORIGIN), self.topic.generation);
        match self.memory.compare_exchange32(origin, before, new)? {
            Err(other) if other != new => Err(Fault::Replaced),
            _ => Ok(()),
        }
    }

    /// For its successors.
    fn go_on(&mut self, before: Handover) -> Result<(), Fault> {
        let predecessor = self.newest.epoch.wrapping_sub(1);
        // The number of the newest value may be in a buffer of one who was replaced before it could announce it, too: it
        // has an older epoch.
        let mut newest: Option<(u32, u32)> = None;
        for index in 0..self.topic.buffers {
            if let Buffer::Holds(value) = self.topic.load(&self.memory, index)? {
                let age = self.newest.epoch.wrapping_sub(value.epoch);
                let youngest = newest.is_none_or(|(_, least)| age < least);
                if value.count == self.newest.count && youngest {
                    newest = Some((index, age));
                }
            }
        }
        let mut after = 0;
        for index in 0..self.topic.buffers {
            let is_newest = newest.is_some_and(|(at, _)| at == index);
            let ended = (before == Handover::Ended).then_some(predecessor);
            let Some(new) = self.inherit(index, is_newest, ended)? else {
                continue;
            };
            self.buffers.push((index, new));
            if let Buffer::Holds(_) = new {
                after = self.buffers.len();
            }
        }
        self.check_buffers()?;
        self.next = after % self.buffers.len();
        Ok(())
    }

    /// Takes over a buffer, which can change until then: whom we replace can have been about to take it, and is writing now.
    /// Returns what the buffer is from now on, `None` if it is left out. `ended` is the epoch of one who is known not to write
    /// any more.
    fn inherit(
        &self,
        index: u32,
        is_newest: bool,
        ended: Option<u32>,
    ) -> Result<Option<Buffer>, Fault> {
        let mut new = Buffer::Empty;
        let judge = |word| {
            new = match Buffer::of_word(word) {
                out @ Buffer::Out(_) => out,
                Buffer::Writing(epoch) if ended != Some(epoch) => Buffer::Out(self.newest.epoch),
                Buffer::Holds(_) if is_newest => Buffer::Holds(self.newest),
                _ => Buffer::Empty,
            };
            Some(new.to_word())
        };
        let at = self.topic.buffer(index);
        replace(&self.memory, at, &|| self.is_ours(), judge)?;
        Ok((!matches!(new, Buffer::Out(_))).then_some(new))
    }

    fn check_buffers(&self) -> Result<(), Fault> {
        match self.buffers.len() {
            0 | 1 => Err(Fault::Corrupt("too few buffers are left to write to")),
            _ => Ok(()),
        }
    }

    /// Says what is in a buffer.
    fn set(&self, index: u32, new: Buffer) -> Result<(), Fault> {
        let at = self.topic.buffer(index);
        let word = new.to_word();
        replace(&self.memory, at, &|| self.is_ours(), |_| Some(word))
    }

    /// Whether nobody has taken this end over yet.
    fn is_ours(&self) -> Result<(), Fault> {
        let at = self.topic.word(control::NEWEST);
        match self.memory.load64(at, Ordering::Acquire)? == self.newest.to_word() {
            true => Ok(()),
            false => Err(Fault::Replaced),
        }
    }

    /// Publishes a value. Returns a bit for each slot that has to be rung.
    ///
    /// # Errors
    ///
    /// [`Fault::TooLong`]; [`Fault::Replaced`], after which it was not published; [`Fault::Access`].
    pub fn publish(&mut self, value: &[u8]) -> Result<u64, Fault> {
        let (len, max) = (value.len(), self.topic.size as usize);
        if len > max {
            return Err(Fault::TooLong { len, max });
        }
        // One that was replaced takes no more buffers, and the last one holds the newest value.
        self.is_ours()?;
        self.check_buffers()?;
        let new = Owned {
            count: after(self.newest.count),
            ..self.newest
        };
        let index = self.take()?;
        // What is written comes after that.
        self.memory.fence_after_exchange();
        let length = self.topic.length(index);
        // CAST: Not above the size.
        self.memory.store32(length, len as u32, Ordering::Relaxed)?;
        self.memory.write(self.topic.bytes(index), value)?;
        self.turn(Buffer::Holds(new))?;
        self.announce(new.count)?;
        self.next = (self.next + 1) % self.buffers.len();
        // Either we see that a reader wants to sleep, or it sees the new number.
        self.memory.fence_after_exchange();
        self.take_waiting()
    }

    /// Takes the buffer whose turn it is, and says that it is being written.
    fn take(&mut self) -> Result<u32, Fault> {
        loop {
            match self.turn(Buffer::Writing(self.newest.epoch)) {
                Err(Fault::Replaced) => self.is_ours()?,
                taken => return taken,
            }
            // Whom we replaced was about to take it, and does so now.
            let (index, _) = self.buffers[self.next];
            self.set(index, Buffer::Out(self.newest.epoch))?;
            self.buffers.remove(self.next);
            self.check_buffers()?;
            self.next %= self.buffers.len();
        }
    }

    /// Replaces the word of the buffer whose turn it is, if it is as we know it.
    fn turn(&mut self, new: Buffer) -> Result<u32, Fault> {
        let (index, now) = &mut self.buffers[self.next];
        let at = self.topic.buffer(*index);
        let (old, word) = (now.to_word(), new.to_word());
        if self.memory.compare_exchange64(at, old, word)?.is_err() {
            return Err(Fault::Replaced);
        }
        *now = new;
        Ok(*index)
    }

    /// Says which value is the newest.
    fn announce(&mut self, number: u32) -> Result<(), Fault> {
        let new = Owned {
            count: number,
            ..self.newest
        };
        let at = self.topic.word(control::NEWEST);
        let (old, word) = (self.newest.to_word(), new.to_word());
        if self.memory.compare_exchange64(at, old, word)?.is_err() {
            return Err(Fault::Replaced);
        }
        self.newest = new;
        Ok(())
    }

    fn take_waiting(&self) -> Result<u64, Fault> {
        let at = self.topic.word(control::WAITING);
        let take = |waiting| Ok((waiting != 0).then_some(0));
        update(&self.memory, at, take).map(Was::word)
    }
}
