// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One end of the trial, in a guest or on the host. Any may be killed at any time and started again.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{bail, ensure, Context, Result};
use channel_trial::{layout, Progress, Word, MAX_SENDERS, RECEIVER};
use clap::{Args, Parser, ValueEnum};
use ivshmem::{Endpoint, Link};
use ivshmem_channel::{Cancel, Channel, Error, Member, Message, MultiReceiver, Receiver, Sender};
use ivshmem_peer::Peer;
use test_limit::limit;

/// Most messages that one doorbell tells of.
const BATCH: u64 = 32;

/// Sends or receives numbered messages and checks them.
#[derive(Parser)]
struct Arguments {
    role: Role,
    #[command(flatten)]
    attachment: Attachment,
    /// Number of messages of each sender.
    #[arg(long, default_value_t = 1000)]
    messages: u64,
    /// Number of senders; several share one ring.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SENDERS)))]
    senders: u32,
    /// Which of the senders this is.
    #[arg(long, default_value_t = 1)]
    sender: u32,
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
    let senders = arguments.senders;
    match arguments.role {
        Role::Send => {
            let member = enter(&link, arguments.sender, senders)?;
            send(&member, arguments.messages)
        }
        Role::Receive => {
            let member = enter(&link, RECEIVER, senders)?;
            Receiving::new(&member, &*link, senders)?.run()
        }
    }
}

/// Joins; again if another one made the channel at the same time.
fn enter<L: Link>(link: &Arc<L>, slot: u32, senders: u32) -> Result<Member<Arc<L>>> {
    loop {
        let channel = Channel::open_or_create(Arc::clone(link), 0, &layout(senders))?;
        match channel.join(slot, 0) {
            Err(Error::Reset) => continue,
            other => return Ok(other?),
        }
    }
}

fn send<L: Link + Clone>(member: &Member<L>, messages: u64) -> Result<()> {
    let mut to = member.sender(RECEIVER)?;
    let mut from = member.receiver(RECEIVER)?;
    // Nobody uses it. Who has one sleeps on descriptors, and the receiver of one sender on a word in the memory.
    let cancel = Cancel::new()?;
    to.set_cancel(&cancel);
    from.set_cancel(&cancel);
    let me = member.incarnation();
    to.send(&Word::Hello(me).encode(), Some(limit()))?;
    let first = wait_for(&mut from, |word| match word {
        Word::Resume(who, next) if who == me => Some(next),
        _ => None,
    })?;
    for number in first..messages {
        to.queue(&Word::Data(number).encode(), Some(limit()))?;
        if number % BATCH == 0 {
            to.flush()?;
        }
    }
    to.send(&Word::End(messages).encode(), Some(limit()))?;
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
    let message = from
        .next(Some(limit()))?
        .context("the other side is silent")?;
    let bytes = message.to_vec()?;
    let word = Word::decode(&bytes).with_context(|| format!("torn message: {bytes:?}"))?;
    message.done()?;
    Ok(word)
}

/// Where messages come from.
enum Inbox<L: Link + Clone> {
    One(Receiver<L>),
    Many(MultiReceiver<L>),
}

impl<L: Link + Clone> Inbox<L> {
    fn next(&mut self) -> Result<Message<'_, L>> {
        let message = match self {
            Self::One(receiver) => receiver.next(Some(limit()))?,
            Self::Many(receiver) => receiver.next(Some(limit()))?,
        };
        message.context("the other side is silent")
    }

    fn release(&mut self) -> Result<()> {
        let released = match self {
            Self::One(receiver) => receiver.release(),
            Self::Many(receiver) => receiver.release(),
        };
        Ok(released?)
    }
}

/// The receiver's work.
struct Receiving<'a, L: Link + Clone, M: Link> {
    from: Inbox<L>,
    /// The way back to each sender.
    to: Vec<Sender<L>>,
    progress: Progress<&'a M>,
}

impl<'a, L: Link + Clone, M: Link> Receiving<'a, L, M> {
    fn new(member: &Member<L>, memory: &'a M, senders: u32) -> Result<Self> {
        let to = (1..=senders).map(|sender| member.sender(sender));
        Ok(Self {
            from: match senders {
                1 => Inbox::One(member.receiver(1)?),
                _ => {
                    let mut receiver = member.multi_receiver()?;
                    receiver.set_cancel(&Cancel::new()?);
                    Inbox::Many(receiver)
                }
            },
            to: to.collect::<Result<_, _>>()?,
            progress: Progress(memory),
        })
    }

    fn run(mut self) -> Result<()> {
        while !self.all_done()? {
            let message = self.from.next()?;
            let bytes = message.to_vec()?;
            let Some(word) = Word::decode(&bytes) else {
                bail!("torn message: {bytes:?}");
            };
            let sender = message.from();
            let to = &mut self.to[sender as usize - 1];
            deal_with(&self.progress, sender, word, to)?;
            // It is done with, as far as the sender knows, only after it was dealt with.
            message.done()?;
        }
        println!("{} messages", self.progress.total(self.senders())?);
        self.from.release()
    }

    fn senders(&self) -> u32 {
        self.to.len() as u32
    }

    fn all_done(&self) -> Result<bool> {
        let mut done = (1..=self.senders()).map(|sender| self.progress.is_done(sender));
        Ok(done.try_fold(true, |all, one| one.map(|one| all && one))?)
    }
}

fn deal_with<L: Link + Clone, M: Link>(
    progress: &Progress<&M>,
    sender: u32,
    word: Word,
    to: &mut Sender<L>,
) -> Result<()> {
    let expected = progress.received(sender)?;
    match word {
        Word::Hello(who) => answer(to, &Word::Resume(who, expected)),
        Word::Data(number) if number == expected => {
            Ok(progress.set_received(sender, expected + 1)?)
        }
        // Received before we were killed, and not released.
        Word::Data(number) if number < expected => Ok(()),
        Word::Data(number) => bail!("message {number} came instead of {expected}"),
        Word::End(count) => {
            ensure!(
                count == expected,
                "{expected} messages came instead of {count}"
            );
            answer(to, &Word::Done)?;
            Ok(progress.set_done(sender, true)?)
        }
        other => bail!("sender {sender} says {other:?}"),
    }
}

fn answer<L: Link + Clone>(to: &mut Sender<L>, word: &Word) -> Result<()> {
    Ok(to.send(&word.encode(), Some(limit()))?)
}
