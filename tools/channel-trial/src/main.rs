// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One end of the trial, in a guest or on the host. Either may be killed at any time and started again.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use channel_trial::{layout, Word, PROGRESS, RECEIVER, SENDER};
use clap::{Args, Parser, ValueEnum};
use ivshmem::{Endpoint, Link};
use ivshmem_channel::{Channel, Error, Member, Receiver, Sender};
use ivshmem_peer::Peer;

/// Nothing takes this long on a machine that works.
const LIMIT: Option<Duration> = Some(Duration::from_secs(120));
/// Most messages that one doorbell tells of.
const BATCH: u64 = 32;

/// Sends or receives numbered messages and checks them.
#[derive(Parser)]
struct Arguments {
    role: Role,
    #[command(flatten)]
    attachment: Attachment,
    /// Number of messages.
    #[arg(long, default_value_t = 1000)]
    messages: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Send,
    Receive,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Attachment {
    /// The device, in a guest.
    #[arg(long)]
    device: Option<PathBuf>,
    /// The server's socket, on the host.
    #[arg(long)]
    socket: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match (&arguments.attachment.device, &arguments.attachment.socket) {
        (Some(device), _) => run(Arc::new(Endpoint::open(device)?), &arguments),
        (_, Some(socket)) => run(Arc::new(Peer::join(socket)?), &arguments),
        _ => unreachable!("clap requires one of them"),
    }
}

fn run<L: Link>(link: Arc<L>, arguments: &Arguments) -> Result<()> {
    let slot = match arguments.role {
        Role::Send => SENDER,
        Role::Receive => RECEIVER,
    };
    let member = enter(&link, slot)?;
    match arguments.role {
        Role::Send => send(&member, arguments.messages),
        Role::Receive => receive(&member, &link),
    }
}

/// Joins; again if the other one made the channel at the same time.
fn enter<L: Link>(link: &Arc<L>, slot: u32) -> Result<Member<Arc<L>>> {
    loop {
        let channel = Channel::open_or_create(Arc::clone(link), 0, &layout())?;
        match channel.join(slot, 0) {
            Err(Error::Reset) => continue,
            other => return Ok(other?),
        }
    }
}

fn send<L: Link + Clone>(member: &Member<L>, messages: u64) -> Result<()> {
    let mut to = member.sender(RECEIVER)?;
    let mut from = member.receiver(RECEIVER)?;
    let me = member.incarnation();
    to.send(&Word::Hello(me).encode(), LIMIT)?;
    let first = wait_for(&mut from, |word| match word {
        Word::Resume(who, next) if who == me => Some(next),
        _ => None,
    })?;
    for number in first..messages {
        to.queue(&Word::Data(number).encode(), LIMIT)?;
        if number % BATCH == 0 {
            to.flush()?;
        }
    }
    to.send(&Word::End(messages).encode(), LIMIT)?;
    wait_for(&mut from, |word| (word == Word::Done).then_some(()))
}

fn wait_for<L: Link + Clone, T>(
    from: &mut Receiver<L>,
    mut wanted: impl FnMut(Word) -> Option<T>,
) -> Result<T> {
    loop {
        if let Some(found) = wanted(next(from)?) {
            return Ok(found);
        }
    }
}

/// Takes the next message.
fn next<L: Link + Clone>(from: &mut Receiver<L>) -> Result<Word> {
    let message = from.next(LIMIT)?.context("the other side is silent")?;
    let bytes = message.to_vec()?;
    let word = Word::decode(&bytes).with_context(|| format!("torn message: {bytes:?}"))?;
    message.done()?;
    Ok(word)
}

fn receive<L: Link + Clone>(member: &Member<L>, memory: &L) -> Result<()> {
    let mut from = member.receiver(SENDER)?;
    let mut to = member.sender(SENDER)?;
    let mut expected = memory.load64(PROGRESS, Ordering::Relaxed)?;
    loop {
        // It is done with, as far as the sender knows, only after it was dealt with.
        let message = from.next(LIMIT)?.context("the other side is silent")?;
        let bytes = message.to_vec()?;
        let Some(word) = Word::decode(&bytes) else {
            bail!("torn message: {bytes:?}");
        };
        match word {
            Word::Hello(who) => answer(&mut to, &Word::Resume(who, expected))?,
            Word::Data(number) if number == expected => {
                expected += 1;
                memory.store64(PROGRESS, expected, Ordering::Relaxed)?;
            }
            // Received before we were killed, and not released.
            Word::Data(number) if number < expected => {}
            Word::Data(number) => bail!("message {number} came instead of {expected}"),
            Word::End(count) => {
                ensure!(
                    count == expected,
                    "{expected} messages came instead of {count}"
                );
                answer(&mut to, &Word::Done)?;
                message.done()?;
                println!("{expected} messages");
                return Ok(from.release()?);
            }
            other => bail!("the sender says {other:?}"),
        }
        message.done()?;
    }
}

fn answer<L: Link + Clone>(to: &mut Sender<L>, word: &Word) -> Result<()> {
    Ok(to.send(&word.encode(), LIMIT)?)
}
