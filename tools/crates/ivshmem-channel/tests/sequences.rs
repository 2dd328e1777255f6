// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Steps of senders and a receiver in any order, against what is promised, with crashes among them, and senders that
//! are replaced and go on all the same.

mod common;

use std::sync::Arc;

use common::{memory, Polled};
use ivshmem_channel::ring::{self, Handover, MultiConsumer, Place, Producer};
use proptest::collection::vec;
use proptest::prelude::*;

const LANES: usize = 3;
/// Small, so that it is often full and often wraps, and no power of two.
const SIZE: u32 = 960;
/// The longest message.
const LONGEST: usize = SIZE as usize - 24;
/// Programs in a lane that may still run after they were replaced: each costs some of the room.
const ZOMBIES: usize = 2;
const LANE_STEP: u64 = 256 + SIZE as u64;
const SHARED: u64 = LANES as u64 * LANE_STEP;

#[derive(Clone, Debug)]
enum Step {
    Queue(usize, usize),
    Publish(usize),
    Receive,
    Release(usize),
    SenderCrashes(usize),
    SenderIsReplaced(usize),
    /// It does whatever a sender does, within what it had begun.
    ZombieGoesOn(usize, usize),
    ReceiverCrashes,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lane = || 0..LANES;
    let step = prop_oneof![
        8 => (lane(), 0usize..=100).prop_map(|(lane, len)| Step::Queue(lane, len)),
        1 => (lane(), 0usize..=LONGEST).prop_map(|(lane, len)| Step::Queue(lane, len)),
        1 => lane().prop_map(Step::SenderIsReplaced),
        5 => (lane(), 0usize..=100).prop_map(|(lane, len)| Step::ZombieGoesOn(lane, len)),
        5 => lane().prop_map(Step::Publish),
        12 => Just(Step::Receive),
        4 => lane().prop_map(Step::Release),
        1 => lane().prop_map(Step::SenderCrashes),
        1 => Just(Step::ReceiverCrashes),
    ];
    vec(step, 1..300)
}

/// A lane, and what has to be true of it.
struct Lane {
    producer: Producer<Arc<Polled>>,
    /// Those that were replaced.
    zombies: Vec<Producer<Arc<Polled>>>,
    /// All messages that were published.
    published: Vec<Vec<u8>>,
    /// Those that were not yet.
    queued: Vec<Vec<u8>>,
    /// How many of the published ones were received, and released.
    received: usize,
    released: usize,
}

struct World {
    memory: Arc<Polled>,
    lanes: Vec<Lane>,
    consumer: MultiConsumer<Arc<Polled>>,
}

fn place(lane: usize) -> Place {
    Place {
        offset: lane as u64 * LANE_STEP,
        size: SIZE,
        generation: 0x5eed,
        lane: Some(ring::Lane {
            shared: SHARED,
            number: lane as u32,
        }),
    }
}

fn consumer(memory: &Arc<Polled>) -> MultiConsumer<Arc<Polled>> {
    let lanes = (0..LANES).map(place);
    MultiConsumer::attach(Arc::clone(memory), lanes, SHARED, &mut || Ok(())).unwrap()
}

fn producer(memory: &Arc<Polled>, lane: usize, before: Handover) -> Producer<Arc<Polled>> {
    Producer::attach(Arc::clone(memory), place(lane), before, &mut || Ok(())).unwrap()
}

impl World {
    fn new() -> Self {
        let memory = Polled::of(&memory(), 0);
        let lane = |lane| Lane {
            producer: producer(&memory, lane, Handover::Ended),
            zombies: Vec::new(),
            published: Vec::new(),
            queued: Vec::new(),
            received: 0,
            released: 0,
        };
        Self {
            lanes: (0..LANES).map(lane).collect(),
            consumer: consumer(&memory),
            memory,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Queue(lane, len) => self.queue(lane, len),
            Step::Publish(lane) => {
                let lane = &mut self.lanes[lane];
                lane.producer.publish().unwrap();
                lane.published.append(&mut lane.queued);
            }
            Step::Receive => {
                self.receive();
            }
            Step::Release(lane) => {
                self.consumer.lane(lane).release().unwrap();
                self.lanes[lane].released = self.lanes[lane].received;
            }
            Step::SenderCrashes(lane) => {
                self.lanes[lane].producer = producer(&self.memory, lane, Handover::Ended);
                self.lanes[lane].queued.clear();
            }
            Step::SenderIsReplaced(lane) => self.replace(lane),
            Step::ZombieGoesOn(lane, len) => {
                for zombie in &mut self.lanes[lane].zombies {
                    go_on(&self.memory, zombie, len);
                }
            }
            Step::ReceiverCrashes => {
                self.consumer = consumer(&self.memory);
                for lane in &mut self.lanes {
                    lane.received = lane.released;
                }
            }
        }
    }

    fn replace(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        // What it was writing to is left out: not so much that too little remains.
        let writing: usize = lane.queued.iter().map(Vec::len).sum();
        if lane.zombies.len() < ZOMBIES && writing < 100 {
            let new = producer(&self.memory, index, Handover::MayRun);
            let old = std::mem::replace(&mut lane.producer, new);
            lane.zombies.push(old);
            lane.queued.clear();
        }
    }

    fn queue(&mut self, lane: usize, len: usize) {
        let lane = &mut self.lanes[lane];
        let number = lane.published.len() + lane.queued.len();
        let len = len.min(lane.producer.longest());
        let message = vec![number as u8; len];
        match lane.producer.reserve(len).unwrap() {
            Some(space) => {
                space.bytes.write(&self.memory, 0, &message).unwrap();
                lane.producer.commit(space, len).unwrap();
                lane.queued.push(message);
            }
            None => {
                let waiting = lane.published.len() + lane.queued.len() - lane.released;
                // To get around what is left out takes a record that has to be received too.
                let zombies = !lane.zombies.is_empty();
                assert!(
                    waiting > 0 || zombies,
                    "an empty ring has room for every message"
                );
            }
        }
    }

    /// Whether there was a message. It is the next one of its lane.
    fn receive(&mut self) -> bool {
        let Some((index, record)) = self.consumer.peek().unwrap() else {
            for lane in &self.lanes {
                assert_eq!(lane.received, lane.published.len());
            }
            return false;
        };
        let lane = &mut self.lanes[index];
        let mut message = vec![0; record.len as usize];
        record.bytes.read(&self.memory, 0, &mut message).unwrap();
        assert_eq!(message, lane.published[lane.received]);
        self.consumer.lane(index).advance(record);
        lane.received += 1;
        true
    }
}

/// Writes into what `zombie` believes to be its room, and tries to publish it.
fn go_on(memory: &Arc<Polled>, zombie: &mut Producer<Arc<Polled>>, len: usize) {
    let len = len.min(zombie.longest());
    if let Ok(Some(space)) = zombie.reserve(len) {
        space.bytes.write(memory, 0, &vec![0xee; len]).unwrap();
        let _ = zombie.commit(space, len);
    }
    let published = zombie.publish();
    assert!(!matches!(published, Ok(true)), "a zombie has published");
}

proptest! {
    #[test]
    fn what_was_published_arrives_in_order_whoever_crashes(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        while world.receive() {}
        // Whatever was left out, there is room for more.
        for lane in 0..LANES {
            for _ in 0..20 {
                let len = world.lanes[lane].producer.longest();
                world.queue(lane, len);
                world.step(&Step::Publish(lane));
                while world.receive() {}
                world.step(&Step::Release(lane));
            }
            let lane = &world.lanes[lane];
            prop_assert!(lane.received >= 10);
        }
    }
}
