// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Many messages, one after the other.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use ivshmem_channel::{Channel, Layout, Member, Receiver, Sender, Spin};

use crate::bare::Places;
use crate::kernel;
use crate::pin;
use crate::plain::Plain;
use crate::series::Series;

/// Bytes of a ring, and of rtrb's: so many that nobody waits for long.
const RING: usize = 2 << 20;
/// Bytes to move for a measurement.
const VOLUME: usize = 64 << 20;
/// Most messages for one.
const MOST: usize = 1 << 18;

type Ends<'a> = (Sender<&'a Plain>, Receiver<&'a Plain>);

fn members(link: &Plain) -> Result<[Member<&Plain>; 2]> {
    let layout = Layout::duplex(RING as u32);
    let channel = Channel::create(link, 0, &layout)?;
    Ok([channel.join(0, 0)?, channel.join(1, 0)?])
}

/// Nanoseconds for each of `count`.
fn each(count: usize, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_nanos() as f64 / count as f64)
}

/// In and out of memory by one thread.
fn memcpy_twice(len: usize, count: usize) -> Result<f64> {
    let (from, mut ring, mut to) = (vec![1u8; len], vec![0u8; RING], vec![0u8; len]);
    each(count, || {
        let mut at = 0;
        for _ in 0..count {
            let place = &mut ring[at..at + len];
            place.copy_from_slice(black_box(&from));
            black_box(&mut to).copy_from_slice(black_box(place));
            at = if at + 2 * len > RING { 0 } else { at + len };
        }
        Ok(())
    })
}

/// Both ends in turn, by one thread.
fn channel_in_turn((to, from): &mut Ends<'_>, len: usize, count: usize) -> Result<f64> {
    let (message, mut buffer) = (vec![1u8; len], Vec::new());
    each(count, || {
        for _ in 0..count {
            to.send(black_box(&message), None)?;
            from.receive(black_box(&mut buffer), None)?;
        }
        Ok(())
    })
}

fn rtrb_in_turn(len: usize, count: usize) -> Result<f64> {
    let (mut to, mut from) = rtrb::RingBuffer::<u8>::new(RING);
    let (message, mut buffer) = (vec![1u8; len], vec![0u8; len]);
    each(count, || {
        for _ in 0..count {
            push(&mut to, black_box(&message));
            pop(&mut from, black_box(&mut buffer));
        }
        Ok(())
    })
}

/// Puts a message with its length before it, as a ring of bytes takes it.
fn push(to: &mut rtrb::Producer<u8>, message: &[u8]) {
    let need = message.len() + 8;
    while to.slots() < need {
        std::hint::spin_loop();
    }
    let mut chunk = to.write_chunk(need).expect("there is room");
    let (first, second) = chunk.as_mut_slices();
    let len = (message.len() as u64).to_ne_bytes();
    put(first, second, 0, &len);
    put(first, second, 8, message);
    chunk.commit_all();
}

fn put(first: &mut [u8], second: &mut [u8], at: usize, bytes: &[u8]) {
    if at >= first.len() {
        second[at - first.len()..][..bytes.len()].copy_from_slice(bytes);
        return;
    }
    let split = bytes.len().min(first.len() - at);
    first[at..at + split].copy_from_slice(&bytes[..split]);
    second[..bytes.len() - split].copy_from_slice(&bytes[split..]);
}

fn pop(from: &mut rtrb::Consumer<u8>, buffer: &mut [u8]) {
    let need = buffer.len() + 8;
    while from.slots() < need {
        std::hint::spin_loop();
    }
    let chunk = from.read_chunk(need).expect("it is there");
    let (first, second) = chunk.as_slices();
    let mut len = [0; 8];
    get(first, second, 0, &mut len);
    assert_eq!(u64::from_ne_bytes(len) as usize, buffer.len());
    get(first, second, 8, buffer);
    chunk.commit_all();
}

fn get(first: &[u8], second: &[u8], at: usize, into: &mut [u8]) {
    let len = into.len();
    if at >= first.len() {
        into.copy_from_slice(&second[at - first.len()..][..len]);
        return;
    }
    let split = len.min(first.len() - at);
    into[..split].copy_from_slice(&first[at..at + split]);
    into[split..].copy_from_slice(&second[..len - split]);
}

/// From one thread to another.
fn channel_between((to, from): &mut Ends<'_>, len: usize, count: usize) -> Result<f64> {
    let (message, mut buffer) = (vec![1u8; len], Vec::new());
    to.set_spin(Spin::Always);
    from.set_spin(Spin::Always);
    each(count, || {
        std::thread::scope(|scope| {
            let sends = scope.spawn(move || -> Result<()> {
                pin::to(1);
                for _ in 0..count {
                    to.send(&message, None)?;
                }
                Ok(())
            });
            pin::to(0);
            for _ in 0..count {
                from.receive(&mut buffer, None)?;
            }
            sends.join().expect("the sender does not panic")
        })
    })
}

fn rtrb_between(len: usize, count: usize) -> Result<f64> {
    let (mut to, mut from) = rtrb::RingBuffer::<u8>::new(RING);
    let (message, mut buffer) = (vec![1u8; len], vec![0u8; len]);
    each(count, || {
        std::thread::scope(|scope| {
            scope.spawn(move || {
                pin::to(1);
                (0..count).for_each(|_| push(&mut to, &message));
            });
            pin::to(0);
            (0..count).for_each(|_| pop(&mut from, &mut buffer));
        });
        Ok(())
    })
}

/// Measures each in turn, for short and long messages.
pub fn run(turns: u32) -> Result<()> {
    let link = Plain::new(Layout::duplex(RING as u32).size(), 0)?;
    let [one, two] = members(&link)?;
    let mut ends = (one.sender(1)?, two.receiver(0)?);
    let mut series = Series::default();
    let lengths = [64, 1024, 65536];
    let mut bare = lengths
        .map(|len| Places::new(RING, len))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    for _ in 0..turns {
        for (len, bare) in lengths.into_iter().zip(&mut bare) {
            let count = MOST.min(VOLUME / len);
            // What passes the kernel is much slower.
            let few = count / 8;
            for (name, value) in [
                ("memcpy_twice", memcpy_twice(len, count)?),
                ("in_turn", channel_in_turn(&mut ends, len, count)?),
                ("rtrb_in_turn", rtrb_in_turn(len, count)?),
                ("between", channel_between(&mut ends, len, count)?),
                ("bare", each(count, || bare.pass(count as u64))?),
                ("rtrb", rtrb_between(len, count)?),
                ("pipe", kernel::stream(kernel::pipe()?, len, few)?),
                ("socket", kernel::stream(kernel::socket()?, len, few)?),
            ] {
                series.add(format!("{name}.{len}"), value);
            }
        }
    }
    series.print();
    Ok(())
}
