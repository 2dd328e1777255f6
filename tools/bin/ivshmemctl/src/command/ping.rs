// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl ping`: round trips between two endpoints.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use ivshmem::Link;
use serde::Serialize;

use crate::claim::{Place, MARK};
use crate::end::{ring_back, tell_served, End};
use crate::exit::{failure, Exit};
use crate::output::Output;
use crate::parse;
use crate::signals;

/// Bytes of the memory that are used.
const LENGTH: u64 = 128;
/// What marks them: "ping".
const PING: u32 = u32::from_le_bytes(*b"ping");

/// Where the one who asks puts the number of the question.
const QUESTION: u64 = 0;
/// Where it puts its own ID, for the answer's ring.
const ASKER: u64 = 4;
/// Where the number comes back, in a cache line of its own.
const ANSWER: u64 = 64;

const _: () = assert!(MARK > ASKER && MARK < ANSWER && ANSWER < LENGTH);

/// Vector that both ring; every endpoint that can be rung has it.
const VECTOR: u32 = 0;

/// Measure round trips to another endpoint, which has to answer with --serve
///
/// A round trip is: write a number, ring, the other endpoint wakes, writes it back and rings, this endpoint wakes. It goes on
/// until Ctrl-C or --count, and then sums up. The endpoint that answers prints its ID. Both endpoints use 128 bytes of the memory, the last ones without --offset,
/// and refuse to if something else is there.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl ping --serve
  ivshmemctl ping 1
  ivshmemctl ping 1 --count 1000 --interval 0 --quiet")]
pub struct Options {
    #[command(flatten)]
    end: End,

    /// ID of the peer to ask; one is needed without --serve
    #[arg(value_parser = parse::peer_id)]
    peer: Option<u32>,

    /// Answer, until ended by a signal or by --timeout without a question
    #[arg(long, conflicts_with_all = ["peer", "count", "interval", "quiet"])]
    serve: bool,

    /// Stop after N round trips, instead of at Ctrl-C
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: Option<u64>,

    /// Time from one round trip to the next
    #[arg(short, long, value_name = "TIME", default_value = "1", value_parser = parse::duration)]
    interval: Duration,

    /// Print the summary only
    #[arg(short, long)]
    quiet: bool,

    /// Give up when there is no answer within this time, or with --serve no question; exit code 5
    #[arg(short, long, value_name = "TIME", value_parser = parse::duration)]
    timeout: Option<Duration>,

    #[command(flatten)]
    place: Place,
}

/// How long an answer may take if nothing is said.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often to look whether a signal came, which does not end every wait.
const LOOK: Duration = Duration::from_millis(50);

/// What was measured. Times are in nanoseconds.
#[derive(Serialize)]
struct Answer {
    peer_id: u32,
    round_trips: usize,
    min: u64,
    median: u64,
    p99: u64,
    max: u64,
    /// How many took at least that long, and less than twice as long.
    histogram: Vec<(u64, usize)>,
}

/// Asks or answers.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    if options.peer.is_none() && !options.serve {
        let text = "give the ID of the peer to ask, or --serve to answer";
        return Err(failure(Exit::Usage, text));
    }
    let link = options.end.link()?;
    let at = options.place.claim(&link, LENGTH, 0, PING)?;
    match options.peer {
        Some(peer) => ask(&*link, at, peer, options, output),
        None => {
            tell_served(&*link, "ping", output);
            serve(&*link, at, options.timeout)
        }
    }
}

fn serve(link: &dyn Link, at: u64, timeout: Option<Duration>) -> Result<Exit> {
    // Who has asked before this endpoint was there still waits for the answer.
    let mut last = link.load32(at + ANSWER, Ordering::Acquire)?;
    loop {
        if !link.wait_word(at + QUESTION, last, timeout)? {
            let limit = humantime::format_duration(timeout.unwrap_or_default());
            let message = format!("nobody asked within {limit}");
            return Err(failure(Exit::TimedOut, message));
        }
        last = link.load32(at + QUESTION, Ordering::Acquire)?;
        let asker = link.load32(at + ASKER, Ordering::Relaxed)?;
        link.store32(at + ANSWER, last, Ordering::Release)?;
        ring_back(link, asker, VECTOR)?;
    }
}

fn ask(link: &dyn Link, at: u64, peer: u32, options: &Options, output: Output) -> Result<Exit> {
    let ended = signals::ended()?;
    let mut times = Vec::new();
    link.store32(at + ASKER, link.peer_id(), Ordering::Relaxed)?;
    let asked = ask_on(link, at, peer, options, output, &ended, &mut times);
    times.sort_unstable();
    if !times.is_empty() {
        let answer = summary(peer, &times);
        output.answer(&answer, || text(&answer))?;
    }
    asked?;
    match times.is_empty() {
        true => Err(failure(
            Exit::Failure,
            "a signal has ended it before there was an answer",
        )),
        false => Ok(Exit::Success),
    }
}

/// Asks until a signal or the count ends it. What each round trip took is added to `times`.
fn ask_on(
    link: &dyn Link,
    at: u64,
    peer: u32,
    options: &Options,
    output: Output,
    ended: &AtomicBool,
    times: &mut Vec<u64>,
) -> Result<()> {
    let patience = options.timeout.unwrap_or(PATIENCE);
    let count = options.count.unwrap_or(u64::MAX);
    for number in 1..=count {
        let Some(time) = round_trip(link, peer, at, patience, ended)? else {
            break;
        };
        times.push(time);
        if !options.quiet && !output.is_json() {
            let line = format!("peer {peer}: seq={number} time={:.1} us", us(time));
            output.answer(&(), || line)?;
        }
        if number == count || pause(options.interval, ended) {
            break;
        }
    }
    Ok(())
}

/// Sleeps for this time, or until a signal; returns whether one came.
fn pause(time: Duration, ended: &AtomicBool) -> bool {
    let begin = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        let left = time.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return false;
        }
        sleep(left.min(LOOK));
    }
    true
}

/// What one takes in nanoseconds; `None` if a signal came before the answer.
fn round_trip(
    link: &dyn Link,
    peer: u32,
    at: u64,
    patience: Duration,
    ended: &AtomicBool,
) -> Result<Option<u64>> {
    let before = link.load32(at + ANSWER, Ordering::Acquire)?;
    // Another number than the last question's, or the other endpoint would not see it; and than the last
    // answer's, or this endpoint would not.
    let mut question = link
        .load32(at + QUESTION, Ordering::Relaxed)?
        .wrapping_add(1);
    if question == before {
        question = question.wrapping_add(1);
    }
    let begin = Instant::now();
    link.store32(at + QUESTION, question, Ordering::Release)?;
    link.ring(peer, VECTOR)?;
    let mut seen = before;
    while seen != question {
        if ended.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let left = patience.saturating_sub(begin.elapsed());
        if left.is_zero() {
            let message = format!(
                "peer {peer} does not answer within {}: does `ivshmemctl ping --serve` run there, with the same \
                 --offset?",
                humantime::format_duration(patience)
            );
            return Err(failure(Exit::TimedOut, message));
        }
        match link.wait_word(at + ANSWER, seen, Some(left.min(LOOK))) {
            Ok(_) | Err(ivshmem::Error::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
        seen = link.load32(at + ANSWER, Ordering::Acquire)?;
    }
    let time = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Ok(Some(time))
}

/// `times` are sorted, and there is at least one.
fn summary(peer: u32, times: &[u64]) -> Answer {
    let part = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    let mut histogram: Vec<(u64, usize)> = Vec::new();
    for time in times {
        let floor = 1 << (*time).max(1).ilog2();
        match histogram.last_mut() {
            Some((last, count)) if *last == floor => *count += 1,
            _ => histogram.push((floor, 1)),
        }
    }
    Answer {
        peer_id: peer,
        round_trips: times.len(),
        min: times[0],
        median: part(50),
        p99: part(99),
        max: times[times.len() - 1],
        histogram,
    }
}

/// In microseconds.
fn us(nanoseconds: u64) -> f64 {
    // CAST: Exact up to 2^53.
    nanoseconds as f64 / 1000.0
}

fn text(answer: &Answer) -> String {
    /// Of the longest bar.
    const WIDTH: usize = 40;

    let mut text = format!(
        "{} round trips to peer {}: min/median/99%/max = {:.1}/{:.1}/{:.1}/{:.1} us\n",
        answer.round_trips,
        answer.peer_id,
        us(answer.min),
        us(answer.median),
        us(answer.p99),
        us(answer.max)
    );
    let most = answer.histogram.iter().map(|(_, count)| *count).max();
    for (floor, count) in &answer.histogram {
        let bar = "#".repeat((count * WIDTH).div_ceil(most.unwrap_or(1)));
        text += &format!("{:>12.1} us {count:>8} {bar}\n", us(*floor));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_histogram() {
        let times: Vec<u64> = (1..=200).collect();
        let answer = summary(3, &times);
        assert_eq!(
            (answer.min, answer.median, answer.p99, answer.max),
            (1, 101, 199, 200)
        );
        assert_eq!(answer.histogram[..3], [(1, 1), (2, 2), (4, 4)]);
        assert_eq!(answer.histogram.iter().map(|(_, n)| n).sum::<usize>(), 200);
        let one = summary(3, &[7]);
        assert_eq!((one.median, one.p99), (7, 7));
        assert!(text(&one).contains(&"#".repeat(40)));
    }
}
