// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What messages cost with iceoryx2: publish and subscribe between two threads that look all the time, with the message copied
//! in and out, as channels do it. Prints series as the programs of ivshmem-bench do.
//!
//! ```text
//! iceoryx2-bench TURNS
//! ```

use std::error::Error;
use std::hint::{black_box, spin_loop};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

/// As in channel-bench.
const RING: usize = 2 << 20;
const VOLUME: usize = 64 << 20;
const MOST: usize = 1 << 18;
const ROUNDS: usize = 20_000;
const LEN: usize = 64;

type Outcome<T> = Result<T, Box<dyn Error>>;
type Sends = Publisher<ipc::Service, [u8], ()>;
type Receives = Subscriber<ipc::Service, [u8], ()>;

/// A service of this program, and both of its ends.
struct Service {
    name: String,
    len: usize,
    depth: usize,
}

impl Service {
    fn new(what: &str, len: usize) -> Self {
        Self {
            name: format!("ivshmem-bench/{}/{what}", std::process::id()),
            len,
            depth: (RING / len).clamp(2, 1024),
        }
    }

    /// The ends of the calling thread: they cannot go to another.
    fn ends(&self) -> Outcome<(Node<ipc::Service>, Sends, Receives)> {
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        let name = self.name.as_str().try_into()?;
        let service = node
            .service_builder(&name)
            .publish_subscribe::<[u8]>()
            .enable_safe_overflow(false)
            .subscriber_max_buffer_size(self.depth)
            .max_publishers(2)
            .max_subscribers(2)
            .open_or_create()?;
        let sends = service
            .publisher_builder()
            .initial_max_slice_len(self.len)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()?;
        let receives = service.subscriber_builder().create()?;
        Ok((node, sends, receives))
    }
}

fn pin(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    // Where that may not be, it runs anywhere.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

fn send(to: &Sends, message: &[u8]) -> Outcome<()> {
    let sample = to.loan_slice_uninit(message.len())?;
    sample.write_from_slice(black_box(message)).send()?;
    Ok(())
}

fn receive(from: &Receives, buffer: &mut [u8]) -> Outcome<()> {
    loop {
        if let Some(sample) = from.receive()? {
            black_box(buffer).copy_from_slice(sample.payload());
            return Ok(());
        }
        spin_loop();
    }
}

fn print(name: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values[(values.len() - 1) * part / 10];
    println!(
        "series {name} {} {} {} {}",
        at(1),
        at(5),
        at(9),
        values.len()
    );
}

fn main() -> Outcome<()> {
    set_log_level(LogLevel::Fatal);
    let turns: usize = std::env::args()
        .nth(1)
        .map_or(Ok(16), |word| word.parse())?;
    println!("ticks_per_second 1000000000");
    for len in [64, 1024, 65536] {
        let each = (0..turns).map(|turn| stream(turn, len));
        print(
            &format!("channels.iceoryx2.{len}"),
            each.collect::<Outcome<_>>()?,
        );
    }
    let medians = (0..turns).map(round_trip).collect::<Outcome<_>>()?;
    print("channels.iceoryx2.round_trip", medians);
    Ok(())
}

/// Nanoseconds for each of many messages, one after the other.
fn stream(turn: usize, len: usize) -> Outcome<f64> {
    let count = MOST.min(VOLUME / len);
    let service = Service::new(&format!("stream-{len}-{turn}"), len);
    let both = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            let (_node, sends, receives) = service.ends().expect("the sender's end");
            // It has no use for its own messages.
            drop(receives);
            both.wait();
            let message = vec![1; len];
            both.wait();
            for _ in 0..count {
                send(&sends, &message).expect("send");
            }
            both.wait();
        });
        pin(0);
        both.wait();
        let (_node, sends, receives) = service.ends()?;
        drop(sends);
        let mut buffer = vec![0; len];
        both.wait();
        let begin = Instant::now();
        for _ in 0..count {
            receive(&receives, &mut buffer)?;
        }
        let each = begin.elapsed().as_nanos() as f64 / count as f64;
        both.wait();
        Ok(each)
    })
}

/// The median of many round trips in nanoseconds, both ends looking.
fn round_trip(turn: usize) -> Outcome<f64> {
    let [ask, answer] = ["ask", "answer"].map(|name| Service::new(&format!("{name}-{turn}"), LEN));
    let both = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            let (_node, sends, asked) = ask.ends().expect("an end");
            drop(sends);
            let (_other, answers, receives) = answer.ends().expect("an end");
            drop(receives);
            both.wait();
            both.wait();
            let mut buffer = [0; LEN];
            for _ in 0..ROUNDS {
                receive(&asked, &mut buffer).expect("receive");
                send(&answers, &buffer).expect("send");
            }
            both.wait();
        });
        pin(0);
        both.wait();
        let (_node, asks, receives) = ask.ends()?;
        drop(receives);
        let (_other, sends, answers) = answer.ends()?;
        drop(sends);
        both.wait();
        let mut buffer = [0; LEN];
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let begin = Instant::now();
            send(&asks, &[1; LEN])?;
            receive(&answers, &mut buffer)?;
            times.push(begin.elapsed().as_nanos() as f64);
        }
        both.wait();
        times.sort_by(f64::total_cmp);
        Ok(times[ROUNDS / 2])
    })
}
