// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The words of a slot: whose it is, and what that one says of itself.

use std::sync::atomic::Ordering;

use ivshmem::{AccessError, Memory};

use crate::layout::slot;

/// Whose a slot is. One word of 64 bits, so that of all who want the slot one gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub generation: u32,
    /// 0: nobody, the last one has left.
    pub incarnation: u32,
}

impl Owner {
    /// Whether that is somebody, in a channel of this generation.
    pub fn is_of(self, generation: u32) -> bool {
        self.generation == generation && self.incarnation != 0
    }

    /// What this one leaves.
    pub fn left(self) -> Self {
        Self {
            incarnation: 0,
            ..self
        }
    }

    fn to_word(self) -> u64 {
        u64::from(self.generation) | u64::from(self.incarnation) << 32
    }

    fn of_word(word: u64) -> Self {
        // CAST: Each takes its half.
        Self {
            generation: word as u32,
            incarnation: (word >> 32) as u32,
        }
    }
}

/// What a slot's owner says of itself. Nothing of it can be relied on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// Incarnation of who wrote the others, in one word with its heartbeat.
    pub joined: u32,
    pub heartbeat: u32,
    pub peer_id: u32,
    pub vector: u32,
    /// Whom its lock is against, by [`bound`]; 0: it has none.
    pub domain: u32,
    /// Where it runs; 0: that is not known.
    pub machine: u32,
}

impl Words {
    /// What a program says beside its peer ID and its machine, by which it is known that one program has said both: whoever
    /// lost the slot may write over one of them later.
    pub fn proof(&self) -> u32 {
        self.joined ^ self.peer_id ^ self.machine
    }
}

/// A lock domain as the program with this incarnation tells it. Who lost the slot to it can have been stopped while it did
/// the same, and write its own over that later: it is of no domain then.
pub(crate) fn bound(domain: u32, incarnation: u32) -> u32 {
    domain ^ incarnation
}

/// A slot in the memory, by the offset of its first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot(u64);

impl Slot {
    pub fn at(offset: u64) -> Self {
        Self(offset)
    }

    /// Byte offset in the memory.
    pub fn offset(self) -> u64 {
        self.0
    }

    pub fn owner(self, memory: &impl Memory) -> Result<Owner, AccessError> {
        let word = memory.load64(self.0 + slot::OWNER, Ordering::Acquire)?;
        Ok(Owner::of_word(word))
    }

    /// Makes the slot `new`'s if it is `current`'s; returns whether it was.
    pub fn replace(
        self,
        memory: &impl Memory,
        current: Owner,
        new: Owner,
    ) -> Result<bool, AccessError> {
        let word = self.0 + slot::OWNER;
        let was = memory.compare_exchange64(word, current.to_word(), new.to_word())?;
        Ok(was.is_ok())
    }

    pub fn words(self, memory: &impl Memory) -> Result<Words, AccessError> {
        let joined = memory.load64(self.0 + slot::JOINED, Ordering::Acquire)?;
        let load = |field| memory.load32(self.0 + field, Ordering::Relaxed);
        Ok(Words {
            // CAST: The two halves.
            joined: joined as u32,
            heartbeat: (joined >> 32) as u32,
            peer_id: load(slot::PEER_ID)?,
            vector: load(slot::VECTOR)?,
            domain: load(slot::DOMAIN)?,
            machine: load(slot::MACHINE)?,
        })
    }

    /// Whether one program has said both the peer ID and the machine of these words.
    pub fn is_proven(self, memory: &impl Memory, words: &Words) -> Result<bool, AccessError> {
        let proof = memory.load32(self.0 + slot::PROOF, Ordering::Relaxed)?;
        Ok(proof == words.proof())
    }

    /// What its owner says of itself; `None` if nobody of this generation has joined.
    pub fn claim(
        self,
        memory: &impl Memory,
        generation: u32,
    ) -> Result<Option<Words>, AccessError> {
        let owner = self.owner(memory)?;
        if !owner.is_of(generation) {
            return Ok(None);
        }
        let words = self.words(memory)?;
        Ok((words.joined == owner.incarnation).then_some(words))
    }

    pub fn say(self, memory: &impl Memory, words: &Words) -> Result<(), AccessError> {
        let store = |field, value| memory.store32(self.0 + field, value, Ordering::Relaxed);
        store(slot::PEER_ID, words.peer_id)?;
        store(slot::VECTOR, words.vector)?;
        store(slot::DOMAIN, words.domain)?;
        store(slot::MACHINE, words.machine)?;
        store(slot::PROOF, words.proof())?;
        let joined = u64::from(words.joined) | u64::from(words.heartbeat) << 32;
        memory.store64(self.0 + slot::JOINED, joined, Ordering::Release)
    }
}
