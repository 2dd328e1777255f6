// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A ring buffer with many senders: what looking at it costs, and how often its receiver is rung.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use ivshmem_channel::{Channel, Layout, Member, MAX_SLOTS};

use crate::plain::Plain;
use crate::series::{self, Series};

const LANE: u32 = 16 << 10;
const LOOKS: u32 = 200_000;
const SLEEPS: u64 = 2_000;
/// Threads that the senders are shared by.
const THREADS: usize = 2;
const NOW: Option<Duration> = Some(Duration::ZERO);

/// The last slot receives from all others.
fn layout(members: u32) -> Layout {
    Layout::new(members).multi_ring(members - 1, LANE)
}

pub fn run(turns: u32) -> Result<()> {
    let mut series = Series::default();
    for _ in 0..turns {
        for members in [2, MAX_SLOTS] {
            series.add(format!("look.{}", members - 1), look(members)?);
        }
    }
    series.print();
    series::count("doorbells_per_sleep", doorbells()?);
    Ok(())
}

/// Nanoseconds for a look at the empty lanes of all others.
fn look(members: u32) -> Result<f64> {
    let layout = layout(members);
    let link = Plain::new(layout.size(), 0)?;
    let member = Channel::create(&link, 0, &layout)?.join(members - 1, 0)?;
    let mut receiver = member.multi_receiver()?;
    let begin = Instant::now();
    for _ in 0..LOOKS {
        let found = black_box(receiver.next(NOW)?);
        ensure!(found.is_none(), "nobody has sent");
    }
    Ok(begin.elapsed().as_nanos() as f64 / f64::from(LOOKS))
}

/// Rings for each time that the receiver wants to be woken, with all senders sending at once.
fn doorbells() -> Result<f64> {
    let layout = layout(MAX_SLOTS);
    let link = Plain::new(layout.size(), 1)?;
    let channel = Channel::create(&link, 0, &layout)?;
    let gathers = channel.join(MAX_SLOTS - 1, 0)?;
    let mut receiver = gathers.multi_receiver()?;
    let members = (0..MAX_SLOTS - 1).map(|slot| channel.join(slot, 0));
    let members = members.collect::<Result<Vec<_>, _>>()?;
    let turn = Barrier::new(THREADS + 1);
    thread::scope(|scope| {
        for share in members.chunks(members.len().div_ceil(THREADS)) {
            let turn = &turn;
            scope.spawn(move || send_each_turn(share, turn).expect("send"));
        }
        let before = link.rings();
        let mut message = Vec::new();
        for _ in 0..SLEEPS {
            ensure!(receiver.arm()?, "there is nothing left");
            turn.wait();
            turn.wait();
            for _ in 0..members.len() {
                let from = receiver.receive(&mut message, NOW)?;
                ensure!(from.is_some(), "each has sent");
            }
        }
        Ok((link.rings() - before) as f64 / SLEEPS as f64)
    })
}

fn send_each_turn(members: &[Member<&Plain>], turn: &Barrier) -> Result<()> {
    let senders = members.iter().map(|member| member.sender(MAX_SLOTS - 1));
    let mut senders = senders.collect::<Result<Vec<_>, _>>()?;
    for _ in 0..SLEEPS {
        turn.wait();
        for sender in &mut senders {
            sender.send(&[1; 8], None)?;
        }
        turn.wait();
    }
    Ok(())
}
