// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The rings under every interleaving of their memory accesses, by loom: no message is lost, torn or doubled,
//! and nobody sleeps for ever. The memory was used before, and senders are replaced while they run. The code is the one
//! that runs on shared memory; only the memory and the doorbell are loom's.

#[path = "common/bell.rs"]
mod bell;

use std::sync::atomic::Ordering;

use ivshmem::{AccessError, Memory};
use ivshmem_channel::ring::{
    Consumer, Fault, Handover, Lane, MultiConsumer, Place, Producer, Record,
};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{fence, AtomicU32, AtomicU64};
use loom::sync::Arc;
use loom::thread;

use bell::Bell;

/// Two messages of three words fit in at a time, and two headers that are left free.
const DATA: usize = 96;
const BLOCK: usize = 256;
/// Words of a block that both ends use, of 32 and of 64 bits: loom has little room.
const WORDS: [u64; 4] = [0, 16, 128, 192];
const LONGS: [u64; 2] = [8, 136];
/// Places that are left out: the senders' alone.
const QUARANTINE: std::ops::Range<u64> = 64..128;

/// What was there before the channel was made.
const OLD: u32 = 0xdead_beef;

/// Rings one after the other, of [`DATA`] bytes each, and the words that lanes share after them. Control words are
/// atomic, and so are headers. The rest of the data is not, so that loom finds every access that they do not order.
struct Model {
    words: Vec<AtomicU32>,
    longs: Vec<AtomicU64>,
    headers: Vec<AtomicU64>,
    data: Vec<UnsafeCell<u64>>,
    quarantine: std::sync::Mutex<Vec<u64>>,
    doze: AtomicU32,
    ready: AtomicU64,
}

/// What is where.
enum Found<'a> {
    Word(&'a AtomicU32),
    Long(&'a AtomicU64),
    Quarantine(usize),
}

impl Model {
    fn new(rings: usize) -> Self {
        let cells = rings * DATA / 8;
        // 80 is a count that a receiver could go on from.
        let used = u64::from(OLD) << 32 | 80;
        Self {
            words: (0..rings * WORDS.len())
                .map(|_| AtomicU32::new(OLD))
                .collect(),
            longs: (0..rings * LONGS.len())
                .map(|_| AtomicU64::new(used))
                .collect(),
            headers: (0..cells).map(|_| AtomicU64::new(used)).collect(),
            data: (0..cells).map(|_| UnsafeCell::new(0)).collect(),
            quarantine: std::sync::Mutex::new(vec![used; rings * 8]),
            doze: AtomicU32::new(OLD),
            ready: AtomicU64::new(0),
        }
    }

    fn shared(&self) -> u64 {
        (self.data.len() / (DATA / 8) * (BLOCK + DATA)) as u64
    }

    fn find(&self, offset: u64) -> Found<'_> {
        match offset.checked_sub(self.shared()) {
            Some(0) => return Found::Word(&self.doze),
            Some(_) => return Found::Long(&self.ready),
            None => {}
        }
        let ring = offset as usize / (BLOCK + DATA);
        let within = offset % (BLOCK + DATA) as u64;
        if let Some(index) = WORDS.iter().position(|at| *at == within) {
            return Found::Word(&self.words[ring * WORDS.len() + index]);
        }
        if let Some(index) = LONGS.iter().position(|at| *at == within) {
            return Found::Long(&self.longs[ring * LONGS.len() + index]);
        }
        if QUARANTINE.contains(&within) {
            return Found::Quarantine(ring * 8 + (within - QUARANTINE.start) as usize / 8);
        }
        Found::Long(&self.headers[(ring * DATA + within as usize - BLOCK) / 8])
    }

    fn word(&self, offset: u64) -> &AtomicU32 {
        match self.find(offset) {
            Found::Word(word) => word,
            _ => panic!("{offset} has 64 bits"),
        }
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
        self.shared() + 16
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
        Ok(match self.find(offset) {
            Found::Word(word) => word.load(order),
            // Its lower half.
            Found::Long(long) => long.load(order) as u32,
            Found::Quarantine(_) => unreachable!("they have 64 bits"),
        })
    }
    fn store32(&self, offset: u64, value: u32, order: Ordering) -> Result<(), AccessError> {
        let word = self.word(offset);
        if offset == self.shared() {
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
        Ok(match self.find(offset) {
            Found::Long(long) => {
                long.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst)
            }
            Found::Quarantine(index) => {
                let mut places = self.quarantine.lock().unwrap();
                let old = places[index];
                if old == current {
                    places[index] = new;
                    Ok(old)
                } else {
                    Err(old)
                }
            }
            Found::Word(_) => unreachable!("they have 32 bits"),
        })
    }
    fn load64(&self, offset: u64, order: Ordering) -> Result<u64, AccessError> {
        Ok(match self.find(offset) {
            Found::Long(long) => long.load(order),
            Found::Quarantine(index) => self.quarantine.lock().unwrap()[index],
            Found::Word(_) => unreachable!("they have 32 bits"),
        })
    }
    fn store64(&self, offset: u64, value: u64, order: Ordering) -> Result<(), AccessError> {
        match self.find(offset) {
            Found::Long(long) => long.store(value, order),
            _ => unreachable!("headers alone are stored"),
        }
        Ok(())
    }
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }
    fn fence_loads(&self) {
        fence(Ordering::Acquire);
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
            lane: None,
        }
    }

    /// As one of the lanes of a ring with several senders.
    fn lane(&self, ring: usize) -> Place {
        Place {
            lane: Some(Lane {
                shared: self.memory.shared(),
                number: ring as u32,
            }),
            ..Self::place(ring)
        }
    }
}

fn producer(world: &World, place: Place) -> Producer<&Model> {
    Producer::attach(&world.memory, place, Handover::Ended, &mut || Ok(())).unwrap()
}

fn consumer(world: &World) -> Consumer<&Model> {
    Consumer::attach(&world.memory, World::place(0), &mut || Ok(())).unwrap()
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
    space.bytes.write(&world.memory, 0, &bytes).unwrap();
    ring.commit(space, bytes.len()).unwrap();
    if ring.publish().unwrap() {
        world.consumer_bell.ring();
    }
}

/// Takes the message `record` out of `ring`, and gives the sender its room.
fn take(world: &World, ring: &mut Consumer<&Model>, bell: &Bell, record: Record) -> Vec<u64> {
    let mut bytes = vec![0; record.len as usize];
    record.bytes.read(&world.memory, 0, &mut bytes).unwrap();
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
                let mut ring = producer(&world, World::place(0));
                for n in 0..messages {
                    let bell = &world.producer_bells[0];
                    send(&world, &mut ring, bell, &[n, n + 10, n + 20]);
                }
            })
        };
        let mut ring = consumer(&world);
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
                let mut ring = producer(&world, world.lane(sender));
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
    let shared = world.memory.shared();
    let mut ring = MultiConsumer::attach(&world.memory, lanes, shared, &mut || Ok(())).unwrap();
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

/// What the first sender sends begins here.
const FIRST_MESSAGE: u64 = 10;
/// The one whose slot it is.
const FIRST: u32 = 1;
const SECOND: u32 = 2;

fn may(owner: &AtomicU32, who: u32) -> impl FnMut() -> Result<(), Fault> + '_ {
    move || match owner.load(Ordering::SeqCst) == who {
        true => Ok(()),
        false => Err(Fault::Replaced),
    }
}

/// What a sender does that is replaced meanwhile. Returns how many of its messages it knows to be published.
fn send_until_replaced(world: &World, owner: &AtomicU32, messages: u64) -> Result<u64, Fault> {
    let before = Handover::Ended;
    let ring = Producer::attach(
        &world.memory,
        World::place(0),
        before,
        &mut may(owner, FIRST),
    );
    let mut ring = match ring {
        Err(Fault::Replaced) => return Ok(0),
        other => other?,
    };
    let mut published = 0;
    for n in 0..messages {
        let bytes = (FIRST_MESSAGE + n).to_ne_bytes();
        let Ok(Some(space)) = ring.reserve(bytes.len()) else {
            break;
        };
        space.bytes.write(&world.memory, 0, &bytes)?;
        ring.commit(space, bytes.len())?;
        match ring.publish() {
            Ok(true) => world.consumer_bell.ring(),
            Ok(false) => {}
            Err(Fault::Replaced) => break,
            Err(other) => return Err(other),
        }
        published = n + 1;
    }
    Ok(published)
}

/// A sender is replaced by the rules, and does not know it. The receiver gets what the first one has published, and
/// then what the second one sends. Loom finds it if the two write to the same place.
fn replaced(messages: u64, preemptions: usize) {
    model(preemptions, move || {
        let world = World::new(1);
        let owner = Arc::new(AtomicU32::new(FIRST));
        let first = {
            let (world, owner) = (Arc::clone(&world), Arc::clone(&owner));
            thread::spawn(move || send_until_replaced(&world, &owner, messages).unwrap())
        };
        let second = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                owner.store(SECOND, Ordering::SeqCst);
                let place = World::place(0);
                let before = Handover::MayRun;
                let ring = Producer::attach(&world.memory, place, before, &mut may(&owner, SECOND));
                let bell = &world.producer_bells[0];
                send(&world, &mut ring.unwrap(), bell, &[2]);
            })
        };
        let mut ring = consumer(&world);
        let mut of_first = 0;
        loop {
            let record = loop {
                if let Some(record) = ring.peek().unwrap() {
                    break record;
                }
                if let Some((word, value)) = ring.arm().unwrap() {
                    world.consumer_bell.wait_word(&world.memory, word, value);
                }
            };
            let message = take(&world, &mut ring, &world.producer_bells[0], record);
            if message == [2] {
                break;
            }
            assert_eq!(message, [FIRST_MESSAGE + of_first]);
            of_first += 1;
        }
        second.join().unwrap();
        assert_eq!(first.join().unwrap(), of_first);
        assert_eq!(ring.peek(), Ok(None));
    });
}

#[test]
fn a_sender_that_is_replaced_while_it_sends() {
    replaced(1, 2);
}

/// What a receiver does that is replaced meanwhile; it does not look at the messages, which others may write to by then.
fn release_until_replaced(world: &World, owner: &AtomicU32) -> Result<(), Fault> {
    let place = World::place(0);
    let mut ring = Consumer::attach(&world.memory, place, &mut may(owner, FIRST))?;
    for _ in 0..2 {
        if let Some(record) = ring.peek()? {
            ring.advance(record);
        }
        if ring.release()? {
            world.producer_bells[0].ring();
        }
    }
    Ok(())
}

#[test]
fn a_receiver_that_is_replaced_while_it_receives() {
    const MESSAGES: u64 = 2;
    model(2, || {
        let world = World::new(1);
        let owner = Arc::new(AtomicU32::new(FIRST));
        let first = {
            let (world, owner) = (Arc::clone(&world), Arc::clone(&owner));
            thread::spawn(move || match release_until_replaced(&world, &owner) {
                Ok(()) | Err(Fault::Replaced) => {}
                Err(other) => panic!("{other:?}"),
            })
        };
        let sender = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let mut ring = producer(&world, World::place(0));
                for n in 0..MESSAGES {
                    send(&world, &mut ring, &world.producer_bells[0], &[n]);
                }
            })
        };
        owner.store(SECOND, Ordering::SeqCst);
        let place = World::place(0);
        let ring = Consumer::attach(&world.memory, place, &mut may(&owner, SECOND));
        let mut ring = ring.unwrap();
        sender.join().unwrap();
        // All that the first one has not released, and nothing else.
        let mut received = Vec::new();
        while let Some(record) = ring.peek().unwrap() {
            let bell = &world.producer_bells[0];
            received.extend(take(&world, &mut ring, bell, record));
        }
        let released = MESSAGES - received.len() as u64;
        assert_eq!(received, Vec::from_iter(released..MESSAGES));
        first.join().unwrap();
    });
}
