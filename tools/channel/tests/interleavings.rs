// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The rings under every interleaving of their memory accesses, by loom: no message is lost, torn or doubled,
//! and nobody sleeps for ever. The code is the one that runs on shared memory; only the memory and the
//! doorbell are loom's.

use std::sync::atomic::Ordering;

use ivshmem::{AccessError, Memory};
use ivshmem_channel::ring::{Consumer, Place, Producer};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{fence, AtomicU32};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

const DATA: usize = 64;
const BLOCK: usize = 128;
/// Words of a block that anybody uses: loom has little room.
const CONTROLS: [u64; 6] = [0, 4, 8, 64, 68, 72];

/// Rings one after the other, of [`DATA`] bytes each. Control words are atomic. Data is
/// not, so that loom finds every access that the control words do not order.
struct Model {
    controls: Vec<AtomicU32>,
    data: Vec<UnsafeCell<u64>>,
}

impl Model {
    fn new(rings: usize) -> Self {
        Self {
            controls: (0..rings * CONTROLS.len())
                .map(|_| AtomicU32::new(0))
                .collect(),
            data: (0..rings * DATA / 8).map(|_| UnsafeCell::new(0)).collect(),
        }
    }

    fn rings(&self) -> usize {
        self.data.len() / (DATA / 8)
    }

    fn bell(&self) -> u64 {
        (self.rings() * (BLOCK + DATA)) as u64
    }

    fn control(&self, offset: u64) -> &AtomicU32 {
        if offset == self.bell() {
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
        self.bell() + 4
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
        self.control(offset).store(value, order);
        Ok(())
    }
    fn fetch_add32(&self, offset: u64, add: u32) -> Result<u32, AccessError> {
        Ok(self.control(offset).fetch_add(add, Ordering::SeqCst))
    }
    fn compare_exchange32(&self, _: u64, _: u32, _: u32) -> Result<Result<u32, u32>, AccessError> {
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
    producer_bell: Bell,
    consumer_bell: Bell,
}

impl World {
    fn new(rings: usize) -> Arc<Self> {
        Arc::new(Self {
            memory: Model::new(rings),
            producer_bell: Bell::default(),
            consumer_bell: Bell::default(),
        })
    }

    fn place(ring: usize) -> Place {
        Place {
            offset: (ring * (BLOCK + DATA)) as u64,
            size: DATA as u32,
            generation: 1,
        }
    }
}

fn send(world: &World, ring: &mut Producer<&Model>, message: &[u64]) -> bool {
    let bytes: Vec<u8> = message.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let space = loop {
        if let Some(space) = ring.reserve(bytes.len()).unwrap() {
            break space;
        }
        if let Some((word, value)) = ring.arm(bytes.len()).unwrap() {
            world.producer_bell.wait_word(&world.memory, word, value);
        }
    };
    world.memory.write(space.offset, &bytes).unwrap();
    ring.commit(space, bytes.len()).unwrap();
    ring.publish().unwrap()
}

fn take(world: &World, ring: &mut Consumer<&Model>) -> Option<Vec<u64>> {
    let record = ring.peek().unwrap()?;
    let mut bytes = vec![0; record.len as usize];
    world.memory.read(record.offset, &mut bytes).unwrap();
    ring.advance(record);
    if ring.release().unwrap() {
        world.producer_bell.ring();
    }
    let words = bytes.chunks_exact(8);
    Some(
        words
            .map(|word| u64::from_ne_bytes(word.try_into().unwrap()))
            .collect(),
    )
}

fn model(preemptions: usize, check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
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
                    if send(&world, &mut ring, &[n, n + 10, n + 20]) {
                        world.consumer_bell.ring();
                    }
                }
            })
        };
        let mut ring = Consumer::attach(&world.memory, World::place(0)).unwrap();
        for n in 0..messages {
            let message = loop {
                if let Some(message) = take(&world, &mut ring) {
                    break message;
                }
                if let Some((word, value)) = ring.arm().unwrap() {
                    world.consumer_bell.wait_word(&world.memory, word, value);
                }
            };
            assert_eq!(message, [n, n + 10, n + 20]);
        }
        assert_eq!(take(&world, &mut ring), None);
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
