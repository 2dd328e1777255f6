// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Streams and sinks of tokio, on the real server.

mod common;
mod peers;

use std::sync::Arc;
use std::time::Duration;

use common::{memory, Polled, GATHERS};
use futures_util::future::{join, join3};
use futures_util::{SinkExt, StreamExt};
use ivshmem_channel::{Channel, Error, Member, Messages, Outbox};
use ivshmem_peer::Peer;
use peers::{members, Members};
use test_limit::limit;
use tokio::time::timeout;

const ROUNDS: u32 = 1000;

fn run<T>(work: impl std::future::Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    let done = runtime.block_on(async { timeout(limit(), work).await });
    done.expect("a task was not woken")
}

/// Each of two tasks of one thread waits for the other's answer.
#[test]
fn tasks_wake_each_other() {
    let Members { members, _region } = members();
    let [one, two, _] = &members;
    let turns = |me: &Member<Arc<Peer>>, other: u32| {
        let to = Outbox::new(me.sender(other).unwrap()).unwrap();
        (to, Messages::new(me.receiver(other).unwrap()).unwrap())
    };
    run(async {
        let (mut a, mut b) = (turns(one, 1), turns(two, 0));
        let first = async {
            for round in 0..ROUNDS {
                a.0.send(round.to_le_bytes().to_vec()).await.unwrap();
                assert_eq!(a.1.next().await.unwrap().unwrap(), round.to_le_bytes());
            }
        };
        let second = async {
            for _ in 0..ROUNDS {
                let message = b.1.next().await.unwrap().unwrap();
                b.0.send(message).await.unwrap();
            }
        };
        join(first, second).await;
    });
}

/// Two tasks fill two lanes, and have to wait for room.
#[test]
fn a_sink_waits_for_room_and_all_arrives() {
    const LEN: usize = 900;
    let Members { members, _region } = members();
    run(async {
        let gathers = members[GATHERS as usize].multi_receiver().unwrap();
        let mut messages = Messages::new(gathers).unwrap();
        let send = |slot: usize| {
            let mut to = Outbox::new(members[slot].sender(GATHERS).unwrap()).unwrap();
            async move {
                for round in 0..ROUNDS {
                    to.feed(vec![round as u8; LEN]).await.unwrap();
                }
                to.close().await.unwrap();
            }
        };
        let receive = async {
            let mut next = [0u32; 2];
            while next != [ROUNDS; 2] {
                let (from, message) = messages.next().await.unwrap().unwrap();
                let next = &mut next[from as usize];
                assert_eq!(message, [*next as u8; LEN]);
                *next += 1;
            }
        };
        join3(send(0), send(1), receive).await;
    });
}

#[test]
fn a_stream_ends_after_an_error_and_shows_that_its_program_lives() {
    let file = memory();
    // Two that cannot be rung.
    let [one, two] = [0, 1].map(|id| Polled::of(&file, id));
    let channel = Channel::create(one, 0, &common::layout()).unwrap();
    let one = channel.join(0, 0).unwrap();
    let two = Channel::open(two, 0).unwrap().join(1, 0).unwrap();
    run(async {
        let mut messages = Messages::new(two.receiver(0).unwrap()).unwrap();
        let silent = timeout(Duration::from_millis(50), messages.next()).await;
        assert!(silent.is_err());
        one.sender(1).unwrap().send(b"hello", None).unwrap();
        assert_eq!(messages.next().await.unwrap().unwrap(), b"hello");
        channel.reset().unwrap();
        assert!(matches!(messages.next().await, Some(Err(Error::Reset))));
        assert!(messages.next().await.is_none());
    });
}
