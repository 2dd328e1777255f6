// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Steps of senders and a receiver in any order, crashes among them, against what is promised.

mod common;

use std::sync::Arc;

use common::{memory, Polled};
use ivshmem::Memory;
use ivshmem_channel::ring::{MultiConsumer, Place, Producer};
use proptest::collection::vec;
use proptest::prelude::*;

const LANES: usize = 3;
/// Small, so that it is often full and often wraps. The longest message has 56 bytes.
const SIZE: u32 = 128;
const LANE_STEP: u64 = 128 + SIZE as u64;
const DOZE: u64 = LANES as u64 * LANE_STEP;

#[derive(Clone, Debug)]
enum Step {
    Queue(usize, usize),
    Publish(usize),
    Receive,
    Release(usize),
    SenderCrashes(usize),
    ReceiverCrashes,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lane = || 0..LANES;
    let step = prop_oneof![
        8 => (lane(), 0usize..=56).prop_map(|(lane, len)| Step::Queue(lane, len)),
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
        doze: Some(DOZE),
    }
}

fn consumer(memory: &Arc<Polled>) -> MultiConsumer<Arc<Polled>> {
    MultiConsumer::attach(Arc::clone(memory), (0..LANES).map(place), DOZE).unwrap()
}

fn producer(memory: &Arc<Polled>, lane: usize) -> Producer<Arc<Polled>> {
    Producer::attach(Arc::clone(memory), place(lane)).unwrap()
}

impl World {
    fn new() -> Self {
        let memory = Polled::of(&memory(), 0);
        let lane = |lane| Lane {
            producer: producer(&memory, lane),
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
                self.lanes[lane].producer = producer(&self.memory, lane);
                self.lanes[lane].queued.clear();
            }
            Step::ReceiverCrashes => {
                self.consumer = consumer(&self.memory);
                for lane in &mut self.lanes {
                    lane.received = lane.released;
                }
            }
        }
    }

    fn queue(&mut self, lane: usize, len: usize) {
        let lane = &mut self.lanes[lane];
        let number = lane.published.len() + lane.queued.len();
        let message = vec![number as u8; len];
        match lane.producer.reserve(len).unwrap() {
            Some(space) => {
                self.memory.write(space.offset, &message).unwrap();
                lane.producer.commit(space, len).unwrap();
                lane.queued.push(message);
            }
            None => {
                let waiting = lane.published.len() + lane.queued.len() - lane.released;
                assert!(waiting > 0, "an empty ring has room for every message");
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
        self.memory.read(record.offset, &mut message).unwrap();
        assert_eq!(message, lane.published[lane.received]);
        self.consumer.lane(index).advance(record);
        lane.received += 1;
        true
    }
}

proptest! {
    #[test]
    fn what_was_published_arrives_in_order_whoever_crashes(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        while world.receive() {}
    }
}
