// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Round trips between two processes.

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

use crate::pin;

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
/// Nothing takes this long.
const LIMIT: Option<Duration> = Some(Duration::from_secs(60));

type Ends = (Sender<Arc<Peer>>, Receiver<Arc<Peer>>);

fn ends(link: &Arc<Peer>, slot: u32) -> Result<Ends> {
    let layout = Layout::duplex(64 << 10);
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
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Fails if it has ended, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(socket: &Path, works: u64) -> Result<Server> {
    let child = Command::new("/proc/self/exe")
        .arg("--serve")
        .arg(socket)
        .args(["--works", &works.to_string()])
        .spawn()?;
    Ok(Server(child))
}

fn ask((to, from): &mut Ends, kind: u8) -> Result<()> {
    let mut message = vec![kind; LEN];
    to.send(&message, LIMIT)?;
    ensure!(from.receive(&mut message, LIMIT)?, "nobody answers");
    Ok(())
}

/// The middle of so many times in microseconds.
fn median(count: usize, mut round: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        round()?;
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(times[count / 2].as_nanos() as f64 / 1000.0)
}

fn with_server<T>(
    works: u64,
    measure: impl FnOnce(&Arc<Peer>, &mut Ends) -> Result<T>,
) -> Result<T> {
    let region = Region::start(MEMORY, 1)?;
    let link = Arc::new(Peer::join(region.socket())?);
    let mut ends = ends(&link, 0)?;
    let mut server = start(&region.socket(), works)?;
    pin::to(0);
    for _ in 0..WARM {
        ask(&mut ends, ASK)?;
    }
    let measured = measure(&link, &mut ends)?;
    ends.0.send(&[END], LIMIT)?;
    server.0.wait()?;
    Ok(measured)
}

/// Prints medians in microseconds.
pub fn run(turns: u32) -> Result<()> {
    println!(
        "round trips of {LEN} bytes between two processes, median of each of {turns} runs, in us"
    );
    for works in [0, 1, 3] {
        let mut all = Vec::new();
        for _ in 0..turns {
            all.push(with_server(works, |_, ends| {
                median(ROUNDS, || ask(ends, ASK))
            })?);
        }
        all.sort_by(f64::total_cmp);
        println!("works {works} us: {all:.2?}");
    }
    let mut best = [f64::MAX; 2];
    for _ in 0..turns {
        let now = with_server(0, |link, (to, from)| {
            to.set_spin(Spin::Always);
            from.set_spin(Spin::Always);
            let ends = (to, from);
            let mut spin = |kind| {
                let mut message = vec![kind; LEN];
                ends.0.send(&message, LIMIT)?;
                ensure!(ends.1.receive(&mut message, LIMIT)?, "nobody answers");
                Ok(())
            };
            spin(SPIN)?;
            let channel = median(ROUNDS, || spin(ASK))?;
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
        })?;
        best = [best[0].min(now[0]), best[1].min(now[1])];
    }
    let [channel, floor] = best;
    println!(
        "both spin: channel {channel:.3}, a word each way {floor:.3} ({:.2} of it)",
        channel / floor
    );
    Ok(())
}
