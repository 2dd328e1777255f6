// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A topic under every interleaving of its memory accesses, by loom: no value is torn, none is read twice or in the wrong
//! order, the last one is read, and nobody sleeps for ever. The memory was used before. The code is the one that runs
//! on shared memory; only the memory and the doorbell are loom's.

#[path = "common/bell.rs"]
mod bell;

use std::sync::atomic::Ordering;
use std::sync::Arc;

use ivshmem::{AccessError, Memory};
use ivshmem_channel::ring::Handover;
use ivshmem_channel::topic::{Reader, Topic, Writer};
use loom::sync::atomic::{fence, AtomicU32, AtomicU64};
use loom::thread;

use bell::Bell;

/// What was there before the channel was made.
const OLD: u32 = 0xdead_beef;
const SLOT: u32 = 1;
const BUFFERS: u32 = 3;
/// Bytes of a value: two words, which are read and written one after the other.
const LEN: usize = 16;

const TOPIC: Topic = Topic {
    offset: 0,
    buffers: BUFFERS,
    size: 64,
    generation: 7,
};

/// The words of a topic that are used, by their offsets.
struct Model {
    origin: AtomicU32,
    newest: AtomicU64,
    waiting: AtomicU64,
    buffers: Vec<Buffer>,
}

struct Buffer {
    word: AtomicU64,
    length: AtomicU32,
    value: [AtomicU64; LEN / 8],
}

impl Model {
    fn new() -> Self {
        let used = u64::from(OLD) << 32 | 80;
        let buffer = |_| Buffer {
            word: AtomicU64::new(used),
            length: AtomicU32::new(OLD),
            value: [0, 0].map(|_: u64| AtomicU64::new(used)),
        };
        Self {
            origin: AtomicU32::new(OLD),
            newest: AtomicU64::new(used),
            waiting: AtomicU64::new(0),
            buffers: (0..BUFFERS).map(buffer).collect(),
        }
    }

    /// The buffer in which `offset` is, and where in it.
    fn buffer(&self, offset: u64) -> (&Buffer, u64) {
        let from = offset - 128;
        (&self.buffers[(from / 128) as usize], from % 128)
    }

    fn long(&self, offset: u64) -> &AtomicU64 {
        match offset {
            8 => &self.newest,
            64 => &self.waiting,
            _ => match self.buffer(offset) {
                (buffer, 0) => &buffer.word,
                _ => panic!("{offset} has not 64 bits"),
            },
        }
    }

    fn word(&self, offset: u64) -> &AtomicU32 {
        match offset {
            0 => &self.origin,
            _ => match self.buffer(offset) {
                (buffer, 8) => &buffer.length,
                _ => panic!("{offset} has not 32 bits"),
            },
        }
    }

    fn value(&self, offset: u64, len: usize) -> &[AtomicU64; LEN / 8] {
        let (buffer, within) = self.buffer(offset);
        assert_eq!((within, len), (64, LEN));
        &buffer.value
    }
}

impl Memory for Model {
    fn size(&self) -> u64 {
        128 + u64::from(BUFFERS) * 128
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), AccessError> {
        let words = self.value(offset, into.len());
        for (word, chunk) in words.iter().zip(into.chunks_exact_mut(8)) {
            chunk.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        Ok(())
    }
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        let words = self.value(offset, from.len());
        for (word, chunk) in words.iter().zip(from.chunks_exact(8)) {
            let value = u64::from_ne_bytes(chunk.try_into().unwrap());
            word.store(value, Ordering::Relaxed);
        }
        Ok(())
    }
    fn load32(&self, offset: u64, order: Ordering) -> Result<u32, AccessError> {
        Ok(match offset {
            // Its lower half.
            64 => self.waiting.load(order) as u32,
            _ => self.word(offset).load(order),
        })
    }
    fn store32(&self, offset: u64, value: u32, order: Ordering) -> Result<(), AccessError> {
        self.word(offset).store(value, order);
        Ok(())
    }
    fn fetch_add32(&self, _: u64, _: u32) -> Result<u32, AccessError> {
        unreachable!("topics do not")
    }
    fn compare_exchange32(
        &self,
        offset: u64,
        current: u32,
        new: u32,
    ) -> Result<Result<u32, u32>, AccessError> {
        let word = self.word(offset);
        Ok(word.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst))
    }
    fn compare_exchange64(
        &self,
        offset: u64,
        current: u64,
        new: u64,
    ) -> Result<Result<u64, u64>, AccessError> {
        let long = self.long(offset);
        Ok(long.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst))
    }
    fn load64(&self, offset: u64, order: Ordering) -> Result<u64, AccessError> {
        Ok(self.long(offset).load(order))
    }
    fn store64(&self, _: u64, _: u64, _: Ordering) -> Result<(), AccessError> {
        unreachable!("they are replaced")
    }
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
    fn fence_loads(&self) {
        fence(Ordering::Acquire);
    }
}

fn attach(memory: &Arc<Model>) -> Writer<Arc<Model>> {
    Writer::attach(Arc::clone(memory), TOPIC, Handover::Ended, &mut || Ok(())).unwrap()
}

fn publish(writer: &mut Writer<Arc<Model>>, number: u64, bell: &Bell) {
    let word = number.to_ne_bytes();
    let waiting = writer.publish(&[word, word].concat()).unwrap();
    if waiting != 0 {
        assert_eq!(waiting, 1 << SLOT);
        bell.ring();
    }
}

/// Reads until it has the value `last`.
fn read(memory: Arc<Model>, last: u64, newest: bool, bell: &Bell) {
    let mut reader = Reader::new(Arc::clone(&memory), TOPIC).unwrap();
    let mut value = Vec::new();
    let mut before = 0;
    while before != last {
        let found = match newest {
            true => reader.newest(&mut value).unwrap(),
            false => reader.next(&mut value).unwrap(),
        };
        if found.is_some() {
            let [one, two] =
                [0, 8].map(|at| u64::from_ne_bytes(*value[at..].first_chunk().unwrap()));
            assert_eq!(one, two, "torn");
            assert!(one > before && one <= last, "{one} after {before}");
            before = one;
        } else if let Some((word, value)) = reader.arm(SLOT).unwrap() {
            bell.wait_word(&memory, word, value);
        }
    }
}

fn model(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(test);
}

/// So many values that a buffer is written over.
#[test]
fn values_are_whole_while_their_buffers_are_written_over() {
    model(2, || {
        let memory = Arc::new(Model::new());
        let bell = Arc::new(Bell::default());
        let mut writer = attach(&memory);
        publish(&mut writer, 1, &bell);
        let thread = {
            let bell = Arc::clone(&bell);
            thread::spawn(move || {
                for number in 2..=4 {
                    publish(&mut writer, number, &bell);
                }
            })
        };
        read(memory, 4, true, &bell);
        thread.join().unwrap();
    });
}

#[test]
fn who_sleeps_is_rung_also_before_the_publisher_has_come() {
    model(2, || {
        let memory = Arc::new(Model::new());
        let bell = Arc::new(Bell::default());
        let thread = {
            let (memory, bell) = (Arc::clone(&memory), Arc::clone(&bell));
            thread::spawn(move || {
                let mut writer = attach(&memory);
                publish(&mut writer, 1, &bell);
                publish(&mut writer, 2, &bell);
            })
        };
        read(memory, 2, false, &bell);
        thread.join().unwrap();
    });
}
