// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Round trips and messages to the other endpoint of the shared memory.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{anyhow, Context, Result};
use ivshmem::{Doorbell, Endpoint, Waiter};
use ivshmem_channel::{Channel, Error, Layout, Receiver, Sender};

use super::party::{Helper, Kind, Party, Way};
use super::report::{Report, Unit};
use super::timing::{per_call, processors, rate};
use crate::end::{ring_back, AnyLink};
use crate::exit::{failure, Exit};

/// Names of the groups.
pub const ROUND: &str = "round trip";
pub const STREAM: &str = "messages of 1 KiB";

/// Bytes of a message that is answered, of one in a stream, and messages of a stream that are answered by one.
pub const NOTE: usize = 64;
pub const MESSAGE: usize = 1024;
pub const BATCH: usize = 64;

/// Words of the memory: what the other endpoint is to do, and whom to ring on vector 0; that it begins, and by which
/// vector it is rung; the numbers that go to and fro. Each endpoint's are in cache lines of their own.
const COMMAND: u64 = 0;
const ASKER: u64 = 4;
const ANSWER: u64 = 64;
const VECTOR: u64 = 68;
const PING: u64 = 128;
const PONG: u64 = 192;
/// Where the channel begins, and its rings.
const CHANNEL: u64 = 4096;
const RING: u32 = 64 << 10;

/// Low bits of a command: a [`Way`], or one of these. The others make it differ from the last one.
const KIND: u32 = 0xff;
const HELLO: u32 = 0;
const MESSAGES: u32 = 5;
/// The last number.
const STOP: u32 = u32::MAX;

/// First byte of a message: it is to be answered, or not. An empty one is the last.
const ASKS: u8 = 1;
const TELLS: u8 = 0;

/// How long the other endpoint may take to answer a command.
const PATIENCE: Duration = Duration::from_secs(10);

type Ends = (Sender<AnyLink>, Receiver<AnyLink>);

/// Does what the other endpoint asks for.
pub fn serve(party: &Party) -> Result<Exit> {
    let mut last = party.load(COMMAND)?;
    loop {
        party.link.wait_word(party.place(COMMAND), last, None)?;
        last = party.load(COMMAND)?;
        let asker = party.load(ASKER)?;
        party.store(VECTOR, party.vector)?;
        party.store(ANSWER, last)?;
        ring_back(&party.link, asker, 0)?;
        let way = Way::ALL.iter().find(|(way, _)| *way as u32 == last & KIND);
        match (way, last & KIND) {
            (Some((way, _)), _) => answer_words(party, *way, asker)?,
            (None, MESSAGES) => match answer_messages(party) {
                // What is wrong with a channel is of the one who made it: another one may make another.
                Err(error) if is_of_channel(&error) => {}
                answered => answered?,
            },
            _ => {}
        }
    }
}

fn is_of_channel(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<Error>();
    error.is_some_and(|error| !matches!(error, Error::Link(_)))
}

fn answer_words(party: &Party, way: Way, asker: u32) -> Result<()> {
    let mut number = 0;
    while number != STOP {
        number = party.wait(way, PING, number)?;
        party.store(PONG, number)?;
        ring_back(&party.link, asker, 0)?;
    }
    Ok(())
}

fn answer_messages(party: &Party) -> Result<()> {
    let channel = Channel::open(party.link.clone(), party.place(CHANNEL))?;
    let member = channel.join(1, party.vector)?;
    let (mut to, mut from) = (member.sender(0)?, member.receiver(0)?);
    let mut message = Vec::new();
    loop {
        from.receive(&mut message, None)?;
        match message.first() {
            None => return Ok(()),
            Some(&ASKS) => to.send(&message[..message.len().min(NOTE)], None)?,
            Some(_) => {}
        }
    }
}

/// The other endpoint.
pub struct Partner<'a> {
    party: &'a Party,
    peer: u32,
    child: Option<Helper>,
}

impl<'a> Partner<'a> {
    /// Finds the endpoint `peer`, or starts a process, which a device has for its other endpoint.
    pub fn find(party: &'a Party, peer: Option<u32>) -> Result<Self> {
        let child = match (peer, &party.kind) {
            (Some(_), _) => None,
            (None, Kind::Device(endpoint, _)) => Some(start(endpoint, party.place(0))?),
            (None, Kind::Host(_)) => {
                let text = "on a host, name a peer where `ivshmemctl bench --serve` runs";
                return Err(failure(Exit::Usage, text));
            }
        };
        let peer = peer.unwrap_or(party.link.peer_id());
        let partner = Self { party, peer, child };
        partner.release()?;
        partner.command(HELLO)?;
        Ok(partner)
    }

    /// Ends what the other endpoint may still do for one who was killed: it waits for a word, or for a message.
    fn release(&self) -> Result<()> {
        self.party.store(PING, STOP)?;
        self.channel()?;
        Ok(())
    }

    fn channel(&self) -> Result<Channel<AnyLink>> {
        let link = self.party.link.clone();
        let layout = Layout::duplex(RING);
        Ok(Channel::create(link, self.party.place(CHANNEL), &layout)?)
    }

    /// Has the other endpoint begin with something; again and again, for it may not be there yet.
    fn command(&self, kind: u32) -> Result<()> {
        const AGAIN: Duration = Duration::from_millis(200);
        let party = self.party;
        let begin = Instant::now();
        party.store(ASKER, party.link.peer_id())?;
        while begin.elapsed() < PATIENCE {
            let old = party.load(COMMAND)? | KIND;
            let command = old.wrapping_add(1) | kind;
            party.store(COMMAND, command)?;
            // Whatever it waits for, a word is all that it looks at; each vector wakes it.
            for vector in 0..2 {
                party.link.ring(self.peer, vector)?;
            }
            let before = party.load(ANSWER)?;
            if before != command {
                party
                    .link
                    .wait_word(party.place(ANSWER), before, Some(AGAIN))?;
            }
            if party.load(ANSWER)? == command {
                return Ok(());
            }
        }
        let message = match self.child {
            Some(_) => "the process that was started does not answer".into(),
            None => format!(
                "peer {} does not answer: does `ivshmemctl bench --serve` run there, with the same --offset?",
                self.peer
            ),
        };
        Err(failure(Exit::TimedOut, message))
    }

    /// Round trips, each way.
    pub fn rounds(&self, report: &mut Report, time: Duration) {
        let messages = self.messages().and_then(|mut ends| {
            let took = per_call(time, || exchange(&mut ends, 1, NOTE))?;
            end(ends)?;
            Ok(took)
        });
        report.add(ROUND, "channel", Unit::Nanoseconds, messages);
        for (way, name) in Way::ALL {
            let alone = way == Way::Spin && self.child.is_some() && processors() == 1;
            let took = match self.party.kind {
                Kind::Host(_) if way != Way::WaitWord => Err(anyhow!("a host has no device")),
                _ if alone => Err(anyhow!("two who spin need two processors")),
                _ => self.words(way, time),
            };
            report.add(ROUND, name, Unit::Nanoseconds, took);
        }
    }

    /// Many messages, each batch of which is answered.
    pub fn stream(&self, report: &mut Report, time: Duration) {
        let rates = self.messages().and_then(|mut ends| {
            let took = per_call(time, || exchange(&mut ends, BATCH, MESSAGE))?;
            end(ends)?;
            Ok(rate(BATCH * MESSAGE, took))
        });
        report.add(STREAM, "channel", Unit::MibPerSecond, rates);
    }

    fn words(&self, way: Way, time: Duration) -> Result<f64> {
        let party = self.party;
        party.store(PING, 0)?;
        party.store(PONG, 0)?;
        self.command(way as u32)?;
        let vector = party.load(VECTOR)?;
        let mut number = 0;
        let mut round = |next| -> Result<()> {
            party.store(PING, next)?;
            party.link.ring(self.peer, vector)?;
            party.wait(way, PONG, number)?;
            number = next;
            Ok(())
        };
        let mut next = 0;
        let took = per_call(time, || {
            next += 1;
            round(next)
        })?;
        round(STOP)?;
        Ok(took)
    }

    fn messages(&self) -> Result<Ends> {
        let channel = self.channel()?;
        self.command(MESSAGES)?;
        let member = channel.join(0, self.party.vector)?;
        Ok((member.sender(1)?, member.receiver(1)?))
    }
}

fn start(endpoint: &Endpoint, at: u64) -> Result<Helper> {
    Command::new("/proc/self/exe")
        .args(["bench", "--serve", "--device"])
        .arg(endpoint.device().path())
        .args(["--offset", &at.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map(Helper)
        .context("cannot start the process that answers")
}

/// Sends so many messages, of which the last is answered.
fn exchange((to, from): &mut Ends, messages: usize, len: usize) -> Result<()> {
    let mut message = vec![TELLS; len];
    for number in 1..=messages {
        if number == messages {
            message[0] = ASKS;
        }
        to.send(&message, Some(PATIENCE))?;
    }
    match from.receive(&mut message, Some(PATIENCE))? {
        true => Ok(()),
        false => Err(failure(
            Exit::TimedOut,
            "the other endpoint does not answer any more",
        )),
    }
}

fn end((mut to, _): Ends) -> Result<()> {
    Ok(to.send(&[], Some(PATIENCE))?)
}
