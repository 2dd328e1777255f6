// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The rings under every interleaving of their memory accesses, by loom: no message is lost, torn or doubled,
//! and nobody sleeps for ever. The code is the one that runs on shared memory; only the memory and the
//! doorbell are loom's.

use std::sync::atomic::Ordering;

use ivshmem::{AccessError, Memory};
use ivshmem_channel::ring::{Consumer, MultiConsumer, Place, Producer, Record};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{fence, AtomicU32};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

const DATA: usize = 64;
const BLOCK: usize = 128;
/// Words of a block that anybody uses: loom has little room.
const CONTROLS: [u64; 6] = [0, 4, 8, 64, 68, 72];

/// Rings one after the other, of [`DATA`] bytes each, and a doze word after them. Control words are atomic. Data
/// is not, so that loom finds every access that the control words do not order.
struct Model {
    controls: Vec<AtomicU32>,
    data: Vec<UnsafeCell<u64>>,
}

impl Model {
    fn new(rings: usize) -> Self {
        Self {
            controls: (0..=rings * CONTROLS.len())
                .map(|_| AtomicU32::new(0))
                .collect(),
            data: (0..rings * DATA / 8).map(|_| UnsafeCell::new(0)).collect(),
        }
    }

    fn rings(&self) -> usize {
        self.data.len() / (DATA / 8)
    }

    fn doze(&self) -> u64 {
        (self.rings() * (BLOCK + DATA)) as u64
    }

    fn control(&self, offset: u64) -> &AtomicU32 {
        if offset == self.doze() {
            return self.controls.last().unwrap();
        }
        let ring = offset as usize / (BLOCK + DATA);
        let within = offset % (BLOCK + DATA) as u64;
        let index = CONTROLS.iter().position(|at| *at == within).unwrap();
        &self.controls[ring * CONTROLS.len() + index]
    }

    /// The cells of `len` bytes of data at `offset`, whole words.
    fn cells(&self, offset: u64, len: usize) -> &[UnsafeCell<u64>] {
        let ring = offset as usize / (BLOCK + DATA);
        let within = offset as usize % (BLOCK + DATA) - BLOCK;
        assert!(within % 8 == 0 && len % 8 == 0 && within + len <= DATA);
        let first = (ring * DATA + within) / 8;
        &self.data[first..first + len / 8]
    }
}

#[expect(unsafe_code)] // Loom checks these accesses: that is the test.
impl Memory for Model {
    fn size(&self) -> u64 {
        self.doze() + 4
    }
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), AccessError> {
        let cells = self.cells(offset, into.len());
        for (cell, chunk) in cells.iter().zip(into.chunks_exact_mut(8)) {
            // SAFETY: Loom fails the test if a write is not ordered against this.
            let word = cell.with(|pointer| unsafe { *pointer });
            chunk.copy_from_slice(&word.to_ne_bytes());
        }
        Ok(())
    }
    fn write(&self, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        let cells = self.cells(offset, from.len());
        for (cell, chunk) in cells.iter().zip(from.chunks_exact(8)) {
            let word = u64::from_ne_bytes(chunk.try_into().unwrap());
            // SAFETY: Loom fails the test if another access is not ordered against this.
            cell.with_mut(|pointer| unsafe { *pointer = word });
        }
        Ok(())
    }
    fn load32(&self, offset: u64, order: Ordering) -> Result<u32, AccessError> {
        Ok(self.control(offset).load(order))
    }
    fn store32(&self, offset: u64, value: u32, order: Ordering) -> Result<(), AccessError> {
        let word = self.control(offset);
        if offset == self.doze() {
            // The only word with several writers. Loom forgets in which order two of them stored when somebody
            // reads late; a swap keeps the order.
            word.swap(value, order);
        } else {
            word.store(value, order);
        }
        Ok(())
    }
    fn fetch_add32(&self, _: u64, _: u32) -> Result<u32, AccessError> {
        unreachable!("rings do not")
    }
    fn compare_exchange32(&self, _: u64, _: u32, _: u32) -> Result<Result<u32, u32>, AccessError> {
        unreachable!("rings do not")
    }
    fn compare_exchange64(&self, _: u64, _: u64, _: u64) -> Result<Result<u64, u64>, AccessError> {
        unreachable!("rings do not")
    }
    fn load64(&self, _: u64, _: Ordering) -> Result<u64, AccessError> {
        unreachable!("rings do not")
    }
    fn store64(&self, _: u64, _: u64, _: Ordering) -> Result<(), AccessError> {
        unreachable!("rings do not")
    }
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
}

/// One end's doorbell: what WAIT_WORD makes of an interrupt. Rung again and again it is rung once.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.wake.notify_one();
    }

    /// Sleeps while the word is `value`, and looks at it only when rung: if a ring is missing, loom reports
    /// that all threads sleep.
    fn wait_word(&self, memory: &Model, offset: u64, value: u32) {
        while memory.load32(offset, Ordering::Relaxed) == Ok(value) {
            let mut rung = self.rung.lock().unwrap();
            while !*rung {
                rung = self.wake.wait(rung).unwrap();
            }
            *rung = false;
        }
    }
}

struct World {
    memory: Model,
    /// Of each ring.
    producer_bells: Vec<Bell>,
    consumer_bell: Bell,
}

impl World {
    fn new(rings: usize) -> Arc<Self> {
        Arc::new(Self {
            memory: Model::new(rings),
            producer_bells: (0..rings).map(|_| Bell::default()).collect(),
            consumer_bell: Bell::default(),
        })
    }

    fn place(ring: usize) -> Place {
        Place {
            offset: (ring * (BLOCK + DATA)) as u64,
            size: DATA as u32,
            generation: 1,
            doze: None,
        }
    }

    /// As one of the lanes of a ring with several senders.
    fn lane(&self, ring: usize) -> Place {
        Place {
            doze: Some(self.memory.doze()),
            ..Self::place(ring)
        }
    }
}

fn send(world: &World, ring: &mut Producer<&Model>, bell: &Bell, message: &[u64]) {
    let bytes: Vec<u8> = message.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let space = loop {
        if let Some(space) = ring.reserve(bytes.len()).unwrap() {
            break space;
        }
        if let Some((word, value)) = ring.arm(bytes.len()).unwrap() {
            bell.wait_word(&world.memory, word, value);
        }
    };
    world.memory.write(space.offset, &bytes).unwrap();
    ring.commit(space, bytes.len()).unwrap();
    if ring.publish().unwrap() {
        world.consumer_bell.ring();
    }
}

/// Takes the message `record` out of `ring`, and gives the sender its room.
fn take(world: &World, ring: &mut Consumer<&Model>, bell: &Bell, record: Record) -> Vec<u64> {
    let mut bytes = vec![0; record.len as usize];
    world.memory.read(record.offset, &mut bytes).unwrap();
    ring.advance(record);
    if ring.release().unwrap() {
        bell.ring();
    }
    let words = bytes.chunks_exact(8);
    words
        .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
        .collect()
}

/// Checks with at most so many preemptions, or with those of `LOOM_MAX_PREEMPTIONS`.
fn model(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(check);
}

/// `messages` of three words, of which two fit at a time.
fn single(messages: u64, preemptions: usize) {
    model(preemptions, move || {
        let world = World::new(1);
        let sender = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let mut ring = Producer::attach(&world.memory, World::place(0)).unwrap();
                for n in 0..messages {
                    let bell = &world.producer_bells[0];
                    send(&world, &mut ring, bell, &[n, n + 10, n + 20]);
                }
            })
        };
        let mut ring = Consumer::attach(&world.memory, World::place(0)).unwrap();
        for n in 0..messages {
            let record = loop {
                if let Some(record) = ring.peek().unwrap() {
                    break record;
                }
                if let Some((word, value)) = ring.arm().unwrap() {
                    world.consumer_bell.wait_word(&world.memory, word, value);
                }
            };
            let message = take(&world, &mut ring, &world.producer_bells[0], record);
            assert_eq!(message, [n, n + 10, n + 20]);
        }
        assert_eq!(ring.peek(), Ok(None));
        sender.join().unwrap();
    });
}

#[test]
fn one_sender_and_room() {
    single(2, 3);
}

#[test]
fn one_sender_that_waits_for_room() {
    single(3, 2);
}

/// Senders of as many messages as `messages` says for each, and a receiver that sleeps on one word for all.
fn several<const SENDERS: usize>(messages: [u64; SENDERS], preemptions: usize) {
    model(preemptions, move || {
        let world = World::new(SENDERS);
        let start = |sender: usize| {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let mut ring = Producer::attach(&world.memory, world.lane(sender)).unwrap();
                for n in 0..messages[sender] {
                    let bell = &world.producer_bells[sender];
                    send(&world, &mut ring, bell, &[sender as u64, n, n]);
                }
            })
        };
        let senders: Vec<_> = (0..SENDERS).map(start).collect();
        receive_from_all(&world, messages);
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

fn receive_from_all<const SENDERS: usize>(world: &World, messages: [u64; SENDERS]) {
    let lanes = (0..SENDERS).map(|lane| world.lane(lane));
    let doze = world.memory.doze();
    let mut ring = MultiConsumer::attach(&world.memory, lanes, doze).unwrap();
    let mut received = [0; SENDERS];
    for _ in 0..messages.iter().sum() {
        let (lane, record) = loop {
            if let Some(found) = ring.peek().unwrap() {
                break found;
            }
            if let Some((word, value)) = ring.arm().unwrap() {
                world.consumer_bell.wait_word(&world.memory, word, value);
            }
        };
        let message = take(world, ring.lane(lane), &world.producer_bells[lane], record);
        let n = received[lane];
        assert_eq!(message, [lane as u64, n, n]);
        received[lane] += 1;
    }
    assert_eq!(received, messages);
    assert_eq!(ring.peek(), Ok(None));
}

#[test]
fn two_senders_and_one_that_sleeps_on_one_word() {
    several([1, 1], 2);
}

#[test]
fn two_senders_of_which_one_goes_on() {
    several([2, 1], 1);
}

#[test]
fn several_lanes_of_which_one_waits_for_room() {
    several([3], 1);
}
