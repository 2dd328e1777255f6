// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Bytes from one thread to another, with a word before them that says that they are there, and nothing else: nobody is woken, nobody may
//! end or be replaced, and nothing is checked but that it stays in the memory. The least that any ring buffer costs.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

use anyhow::Result;
use ivshmem::Memory;

use crate::pin;
use crate::plain::Plain;

/// Bytes of the word before a message.
const WORD: u64 = 8;

/// Messages of one length, one after the other, in a ring of places.
pub struct Places {
    memory: Plain,
    len: usize,
    /// Bytes from one place to the next.
    stride: u64,
    count: u64,
    /// Messages that have passed.
    passed: u64,
}

impl Places {
    /// As many places for messages of `len` bytes as `size` bytes have.
    pub fn new(size: usize, len: usize) -> Result<Self> {
        let stride = WORD + len.next_multiple_of(8) as u64;
        Ok(Self {
            // The reader's word has a page of its own.
            memory: Plain::new(size as u64 + 4096, 0)?,
            len,
            stride,
            count: size as u64 / stride,
            passed: 0,
        })
    }

    /// Where message `number` is, from 1 on.
    fn place(&self, number: u64) -> u64 {
        number % self.count * self.stride
    }

    /// Where the reader says how far it is.
    fn progress(&self) -> u64 {
        self.memory.size() - 4096
    }

    /// Moves so many messages from another thread to this one.
    pub fn pass(&mut self, messages: u64) -> Result<()> {
        let numbers = self.passed + 1..=self.passed + messages;
        self.passed += messages;
        let places = &*self;
        std::thread::scope(|scope| {
            let writes = scope.spawn({
                let numbers = numbers.clone();
                move || {
                    pin::to(1);
                    places.write(numbers)
                }
            });
            pin::to(0);
            places.read(numbers)?;
            writes.join().expect("the writer does not panic")
        })
    }

    fn write(&self, numbers: RangeInclusive<u64>) -> Result<()> {
        let message = vec![1u8; self.len];
        let mut free = 0;
        for number in numbers {
            while number > free {
                free = self.count + self.memory.load64(self.progress(), Ordering::Acquire)?;
            }
            let at = self.place(number);
            self.memory.write(at + WORD, &message)?;
            self.memory.store64(at, number, Ordering::Release)?;
        }
        Ok(())
    }

    fn read(&self, numbers: RangeInclusive<u64>) -> Result<()> {
        let mut message = vec![0; self.len];
        // A quarter at a time, as channels give back room.
        let quarter = (self.count / 4).max(1);
        for number in numbers {
            let at = self.place(number);
            while self.memory.load64(at, Ordering::Acquire)? != number {
                std::hint::spin_loop();
            }
            self.memory.read(at + WORD, &mut message)?;
            if number % quarter == 0 {
                let progress = self.progress();
                self.memory.store64(progress, number, Ordering::Release)?;
            }
        }
        Ok(())
    }
}
