// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Round trips between two processes.

use std::env;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};
use ivshmem::Memory;
use ivshmem_channel::{Channel, Layout, Receiver, Sender, Spin};
use ivshmem_peer::Peer;
use vmbench::Region;

use crate::kernel;
use crate::pin;
use crate::series::{self, Series};

/// Bytes of a message.
const LEN: usize = 64;
const ROUNDS: usize = 20_000;
/// What comes before them, so that both ends know each other.
const WARM: usize = 2_000;
const MEMORY: u64 = 1 << 20;
/// Two words in cache lines of their own, behind the channel, for the floor.
const PING: u64 = MEMORY - 512;
const PONG: u64 = MEMORY - 256;
/// The first byte of a message: answer it; answer it from now on without sleeping; now the words; that was all.
const ASK: u8 = 0;
const SPIN: u8 = 1;
const WORDS: u8 = 2;
const END: u8 = 3;
const SECOND: Duration = Duration::from_secs(1);
/// Nothing takes this long.
const LIMIT: Option<Duration> = Some(Duration::from_secs(60));

/// Sends to the other, and receives from it.
pub type Ends = (Sender<Arc<Peer>>, Receiver<Arc<Peer>>);

fn ends(link: &Arc<Peer>, slot: u32) -> Result<Ends> {
    // No heartbeat wakes anybody while it is measured.
    let layout = Layout::duplex(64 << 10).heartbeat(10 * SECOND, 60 * SECOND);
    let channel = Channel::open_or_create(Arc::clone(link), 0, &layout)?;
    let member = channel.join(slot, 0)?;
    Ok((member.sender(1 - slot)?, member.receiver(1 - slot)?))
}

/// Answers, and works for so long before each.
pub fn serve(socket: &Path, works: Duration) -> Result<()> {
    pin::to(1);
    let link = Arc::new(Peer::join(socket)?);
    let (mut to, mut from) = ends(&link, 1)?;
    let mut message = Vec::new();
    loop {
        ensure!(from.receive(&mut message, LIMIT)?, "nobody asks");
        match message[0] {
            END => return Ok(()),
            WORDS => answer_words(&link)?,
            SPIN => {
                to.set_spin(Spin::Always);
                from.set_spin(Spin::Always);
            }
            _ => {}
        }
        let begin = Instant::now();
        while !works.is_zero() && begin.elapsed() < works {
            std::hint::spin_loop();
        }
        to.send(&message, LIMIT)?;
    }
}

fn answer_words(link: &Peer) -> Result<()> {
    for round in 1..=ROUNDS as u32 {
        while link.load32(PING, Ordering::Acquire)? != round {
            std::hint::spin_loop();
        }
        link.store32(PONG, round, Ordering::Release)?;
    }
    Ok(())
}

/// The other process.
struct Answerer(Child);

impl Drop for Answerer {
    fn drop(&mut self) {
        // Fails if it has ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ask_as((to, from): &mut Ends, kind: u8) -> Result<()> {
    let mut message = vec![kind; LEN];
    to.send(&message, LIMIT)?;
    ensure!(from.receive(&mut message, LIMIT)?, "nobody answers");
    Ok(())
}

/// A message and its answer.
pub fn ask(ends: &mut Ends) -> Result<()> {
    ask_as(ends, ASK)
}

fn warm(ends: &mut Ends) -> Result<()> {
    (0..WARM).try_for_each(|_| ask(ends))
}

/// The middle of so many times in nanoseconds.
fn median(count: usize, mut round: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        round()?;
        times.push(begin.elapsed().as_nanos() as f64);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[count / 2])
}

/// Measures with another process that answers, and works for so many microseconds before each. `wrapper` is a command that
/// starts it.
pub fn with_answerer<T>(
    mut wrapper: Command,
    vectors: u16,
    works: u64,
    measure: impl FnOnce(&Arc<Peer>, &mut Ends) -> Result<T>,
) -> Result<T> {
    let region = Region::start(MEMORY, vectors)?;
    let link = Arc::new(Peer::join(region.socket())?);
    let mut ends = ends(&link, 0)?;
    wrapper
        .arg(env::current_exe()?)
        .arg("--serve")
        .arg(region.socket());
    let mut answerer = Answerer(wrapper.args(["--works", &works.to_string()]).spawn()?);
    pin::to(0);
    let measured = measure(&link, &mut ends)?;
    ends.0.send(&[END], LIMIT)?;
    answerer.0.wait()?;
    Ok(measured)
}

pub fn run(turns: u32) -> Result<()> {
    let mut series = Series::default();
    let mut slowest = [0.0f64; 3];
    for _ in 0..turns {
        for (works, slowest) in [0, 1, 3].into_iter().zip(&mut slowest) {
            let measure = |_: &_, ends: &mut _| {
                warm(ends)?;
                median(ROUNDS, || ask(ends))
            };
            let each = with_answerer(directly(), 1, works, measure)?;
            series.add(format!("round_trip.{works}_us"), each);
            *slowest = slowest.max(each);
        }
        let [channel, floor] = with_answerer(directly(), 1, 0, looking)?;
        series.add("looking.round_trip", channel);
        series.add("looking.word", floor);
        let pipes = [kernel::pipe()?, kernel::pipe()?];
        series.add("pipe.round_trip", kernel::round_trip(pipes, LEN, ROUNDS)?);
        let sockets = [kernel::socket()?, kernel::socket()?];
        series.add(
            "socket.round_trip",
            kernel::round_trip(sockets, LEN, ROUNDS)?,
        );
    }
    series.print();
    for (works, slowest) in [0, 1, 3].into_iter().zip(slowest) {
        series::count(&format!("round_trip.{works}_us.slowest"), slowest);
    }
    Ok(())
}

/// Does nothing but start the program that is its argument.
fn directly() -> Command {
    Command::new("env")
}

/// Round trips with both ends looking all the time: of messages, and of a word each way.
fn looking(link: &Arc<Peer>, ends: &mut Ends) -> Result<[f64; 2]> {
    ends.0.set_spin(Spin::Always);
    ends.1.set_spin(Spin::Always);
    ask_as(ends, SPIN)?;
    warm(ends)?;
    let channel = median(ROUNDS, || ask(ends))?;
    let mut message = vec![WORDS; LEN];
    ends.0.send(&message, LIMIT)?;
    let mut round = 0;
    let floor = median(ROUNDS, || {
        round += 1;
        link.store32(PING, round, Ordering::Release)?;
        while link.load32(PONG, Ordering::Acquire)? != round {
            std::hint::spin_loop();
        }
        Ok(())
    })?;
    ensure!(ends.1.receive(&mut message, LIMIT)?, "nobody answers");
    Ok([channel, floor])
}
