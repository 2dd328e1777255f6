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
/// Two words in cache lines of their own, with room behind each, behind the channel, for the floor.
const PING: u64 = MEMORY - 512;
const PONG: u64 = MEMORY - 256;
const WORD: u64 = 8;
/// The first byte of a message: answer it; answer it from now on without sleeping; now words alone; now with a message's bytes
/// behind them; that was all.
const ASK: u8 = 0;
const SPIN: u8 = 1;
const WORDS: u8 = 2;
const BARE: u8 = 3;
const END: u8 = 4;
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
            WORDS => answer_words(&link, 0)?,
            BARE => answer_words(&link, LEN)?,
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

/// Answers words, with so many bytes behind each.
fn answer_words(link: &Peer, len: usize) -> Result<()> {
    let mut bytes = vec![0; len];
    for round in 1..=ROUNDS as u32 {
        hear(link, PING, round, &mut bytes)?;
        say(link, PONG, round, &bytes)?;
    }
    // For who comes next.
    link.store32(PING, 0, Ordering::Relaxed)?;
    Ok(())
}

/// Waits for the word, and takes the bytes behind it.
fn hear(link: &Peer, at: u64, round: u32, bytes: &mut [u8]) -> Result<()> {
    while link.load32(at, Ordering::Acquire)? != round {
        std::hint::spin_loop();
    }
    Ok(link.read(at + WORD, bytes)?)
}

fn say(link: &Peer, at: u64, round: u32, bytes: &[u8]) -> Result<()> {
    link.write(at + WORD, bytes)?;
    Ok(link.store32(at, round, Ordering::Release)?)
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
        let [channel, word, bare] = with_answerer(directly(), 1, 0, looking)?;
        series.add("looking.round_trip", channel);
        series.add("looking.word", word);
        series.add("looking.bare", bare);
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

/// Round trips with both ends looking all the time: of messages, of a word each way, and of a word with as many bytes behind it.
fn looking(link: &Arc<Peer>, ends: &mut Ends) -> Result<[f64; 3]> {
    ends.0.set_spin(Spin::Always);
    ends.1.set_spin(Spin::Always);
    ask_as(ends, SPIN)?;
    warm(ends)?;
    let channel = median(ROUNDS, || ask(ends))?;
    let word = words(link, ends, WORDS, 0)?;
    Ok([channel, word, words(link, ends, BARE, LEN)?])
}

/// Has the other answer words with so many bytes behind each.
fn words(link: &Arc<Peer>, ends: &mut Ends, kind: u8, len: usize) -> Result<f64> {
    link.store32(PONG, 0, Ordering::Relaxed)?;
    let mut message = vec![kind; LEN];
    ends.0.send(&message, LIMIT)?;
    let (said, mut heard) = (vec![1; len], vec![0; len]);
    let mut round = 0;
    let time = median(ROUNDS, || {
        round += 1;
        say(link, PING, round, &said)?;
        hear(link, PONG, round, &mut heard)
    })?;
    ensure!(ends.1.receive(&mut message, LIMIT)?, "nobody answers");
    Ok(time)
}
