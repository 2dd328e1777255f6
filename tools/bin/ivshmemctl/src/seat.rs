// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! A place in the channel through which two endpoints of this program talk.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use ivshmem::Doorbell;
use ivshmem_channel::{Channel, Error, Layout, Member};

use crate::claim;
use crate::end::{AnyLink, End};
use crate::exit::{failure, Exit};
use crate::parse;

/// Bytes of the ring in each direction; both endpoints must have the same.
const RING: u32 = 256 << 10;

/// Vector that wakes an endpoint; every endpoint that can be rung has it.
const VECTOR: u32 = 0;

/// How long a seat may take before somebody is told: longer than one who crashed, or is slow to leave, keeps it.
const SOON: Duration = Duration::from_secs(4);

/// How often to show that one lives: several times in what the channel takes for silence.
const BEAT: Duration = Duration::from_millis(250);

/// How often in a row the channel may be recreated: endpoints that start together need a few.
const MOST_RESETS: u32 = 64;

/// A talk that was as long is not in a row with the one before.
const LASTING: Duration = Duration::from_secs(1);

/// A place that was taken.
pub type Seat = Member<AnyLink>;

/// The options that say where the channel is.
#[derive(Args, Clone, Debug)]
pub struct Table {
    #[command(flatten)]
    end: End,

    /// Where the channel begins, a multiple of 4K; the same at both endpoints
    #[arg(short = 's', long, value_name = "OFFSET", default_value = "0", value_parser = parse::number)]
    offset: u64,

    /// Recreate the channel, whatever is there, and start empty
    ///
    /// Without this option, memory that holds neither zeros nor a channel with the same layout is not written over. The option
    /// is also the remedy for a channel that is corrupt. What was on its way is lost.
    #[arg(long)]
    overwrite: bool,
}

/// What is said and done while all seats are taken.
pub struct Busy<'a> {
    /// How long to wait for one; none waits for ever.
    pub limit: Option<Duration>,
    /// Why there is none, for the error after that.
    pub reason: &'a str,
    /// Tells that it waits; called once, from another thread, while it does.
    pub tell: &'a (dyn Fn() + Sync),
}

impl Table {
    /// Takes whichever of these slots is free, and does what `talk` does; again whenever the channel was recreated, until
    /// that happens too often.
    pub fn sit<T>(
        &self,
        slots: &[u32],
        busy: &Busy<'_>,
        mut talk: impl FnMut(&Seat) -> Result<T>,
    ) -> Result<T> {
        let link = self.end.link()?;
        let mut overwrite = self.overwrite;
        let mut resets = 0;
        loop {
            let begin = Instant::now();
            let talked = self
                .join(&link, slots, busy, overwrite)
                .and_then(|seat| attended(&link, &seat, || talk(&seat)))
                .map_err(advise);
            overwrite = false;
            match talked {
                // Both endpoints have made the channel at the same time, or one of them has recreated it.
                Err(error) if matches!(error.downcast_ref(), Some(Error::Reset)) => {}
                other => return other,
            }
            resets = match begin.elapsed() < LASTING {
                true => resets + 1,
                false => 0,
            };
            if resets == MOST_RESETS {
                let text = "a program keeps recreating the channel: stop it, or give both endpoints another --offset";
                return Err(failure(Exit::Failure, text));
            }
        }
    }

    fn join(
        &self,
        link: &AnyLink,
        slots: &[u32],
        busy: &Busy<'_>,
        overwrite: bool,
    ) -> Result<Seat> {
        let (link, layout) = (link.clone(), Layout::duplex(RING));
        if !overwrite {
            claim::for_channel(&link, self.offset, layout.size())?;
        }
        let channel = match overwrite {
            true => Channel::create(link, self.offset, &layout),
            false => Channel::open_or_create(link, self.offset, &layout),
        }?;
        let (taken, seat) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                if seat.recv_timeout(SOON) == Err(RecvTimeoutError::Timeout) {
                    (busy.tell)();
                }
            });
            let joined = busy.join(&channel, slots);
            drop(taken);
            joined
        })
    }
}

impl Busy<'_> {
    fn join(&self, channel: &Channel<AnyLink>, slots: &[u32]) -> Result<Seat> {
        let begin = Instant::now();
        loop {
            // It waits itself, for longer than one who crashed keeps its seat.
            match channel.join_any(slots, VECTOR) {
                Err(Error::SlotTaken(_)) => {}
                joined => return Ok(joined?),
            }
            if self.limit.is_some_and(|limit| begin.elapsed() >= limit) {
                let message = format!("{}, and the time limit passed", self.reason);
                return Err(failure(Exit::TimedOut, message));
            }
        }
    }
}

/// Does `talk` while a thread shows that the seat has somebody who lives: reading a large file takes long, and so may whoever reads
/// what is written.
fn attended<T>(link: &AnyLink, seat: &Seat, talk: impl FnOnce() -> Result<T>) -> Result<T> {
    let (over, talks) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            while talks.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                // Before it is touched. Who talks finds out why.
                if link.is_gone() || seat.beat().is_err() {
                    return;
                }
            }
        });
        let talked = talk();
        drop(over);
        talked
    })
}

/// Says by which option a channel is recreated.
fn advise(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(Error::Corrupt(_) | Error::OtherLayout) => {
            error.context("the option --overwrite recreates the channel for both endpoints")
        }
        _ => error,
    }
}
