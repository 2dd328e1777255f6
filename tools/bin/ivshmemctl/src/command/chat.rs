// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `ivshmemctl chat`: lines of text between two endpoints.

mod input;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anstyle::Style;
use anyhow::Result;
use clap::Args;
use ivshmem_channel::{Error, Presence, Receiver, Sender};
use serde_json::json;

use crate::end::AnyLink;
use crate::exit::{failure, Exit};
use crate::output::{printable, Output, GOOD, WARNING};
use crate::parse;
use crate::seat::{Busy, Seat, Table};
use crate::signals;
use input::Input;

/// The channel's slots: both endpoints are alike.
const SLOTS: [u32; 2] = [0, 1];

/// First byte of a message that is a line. `cp` uses the same channel, and neither minds what the other has left.
const LINE: u8 = b'L';
/// The message that no more lines follow, and its answer: whoever sent them can leave. Both are followed by the
/// incarnation of that one, so that it does not take an answer to another one for its own.
const OVER: u8 = b'E';
const HEARD: u8 = b'H';

/// The longest line in bytes.
const LONGEST: usize = 32 << 10;

/// How often to look whether something was typed. A line that comes from the other endpoint wakes at once.
const LOOK: Duration = Duration::from_millis(50);

/// Exchange lines of text with another guest, where `chat` runs too
///
/// What is typed or piped in is sent line by line; what comes is written to the standard output, and who came, left
/// or crashed to the standard error. Lines wait until somebody is there. Two can talk: a third waits for one to leave.
/// The end of the input ends the program when the other endpoint has taken everything, and Ctrl-C ends it at once. Both endpoints
/// use 513 KiB of the memory at --offset, as cp does, and nobody else may write there meanwhile. After another program has
/// used that place, --overwrite at the endpoint that starts first clears it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ivshmemctl chat
  ivshmemctl chat --join /tmp/ivshmem.sock
  dmesg | ivshmemctl chat
  ivshmemctl chat --listen >their-dmesg")]
pub struct Options {
    #[command(flatten)]
    table: Table,

    /// Send nothing, and end when the other endpoint leaves
    #[arg(short, long)]
    listen: bool,

    /// Give up when nobody has been there for this long; exit code 5
    #[arg(short, long, value_name = "TIME", value_parser = parse::duration)]
    timeout: Option<Duration>,
}

/// Talks until the input ends, or a signal says so.
pub fn run(options: &Options, output: Output) -> Result<Exit> {
    let mut input = match options.listen {
        true => Input::none(),
        false => Input::stdin(LONGEST),
    };
    let busy = Busy {
        limit: options.timeout,
        reason: TAKEN,
        tell: &|| {
            // Who does not see it waits all the same.
            let _ = notice(
                output,
                "waiting",
                None,
                &format!("{TAKEN}; waiting"),
                WARNING,
            );
        },
    };
    // Not before there is somebody to take leave of: until then, a signal may end the program by itself.
    let mut ended = None;
    options.table.sit(&SLOTS, &busy, |seat| {
        let ended = match &ended {
            Some(ended) => ended,
            None => ended.insert(signals::ended()?),
        };
        let mut chat = Chat::new(seat, options, output)?;
        chat.run(&mut input, ended)
    })?;
    Ok(Exit::Success)
}

/// Why there is no seat.
const TAKEN: &str = "both slots are taken";

struct Chat<'a> {
    seat: &'a Seat,
    to: Sender<AnyLink>,
    from: Receiver<AnyLink>,
    options: &'a Options,
    output: Output,
    /// The other endpoint's slot, and who was seen there last.
    slot: u32,
    other: Presence,
    /// Its peer ID; it is known still when that one has left.
    peer: Option<u32>,
    /// Since when nobody is there.
    alone: Instant,
    /// Whether the other endpoint knows that nothing follows, and whether it has taken all that came before.
    said_over: bool,
    heard: bool,
    /// The answer that it waits for from us.
    owes: Option<Vec<u8>>,
}

impl<'a> Chat<'a> {
    fn new(seat: &'a Seat, options: &'a Options, output: Output) -> Result<Self> {
        let slot = SLOTS[0] + SLOTS[1] - seat.slot();
        Ok(Self {
            seat,
            to: seat.sender(slot)?,
            from: seat.receiver(slot)?,
            options,
            output,
            slot,
            other: Presence::Absent,
            peer: None,
            alone: Instant::now(),
            said_over: false,
            heard: false,
            owes: None,
        })
    }

    fn run(&mut self, input: &mut Input, ended: &AtomicBool) -> Result<()> {
        if !is_there(self.seat.presence(self.slot)?) {
            self.notice("alone", "nobody is there yet; lines wait", WARNING)?;
        }
        while !ended.load(Ordering::Relaxed) {
            let left = self.look()?;
            let sent = self.send(input)?;
            let over = match self.options.listen {
                true => left,
                false => input.is_over() && self.is_all_heard()?,
            };
            if over {
                break;
            }
            self.receive(if sent { Duration::ZERO } else { LOOK })?;
        }
        Ok(())
    }

    /// Whether the other endpoint has taken all lines; it is asked if it is there.
    fn is_all_heard(&mut self) -> Result<bool> {
        if !self.said_over && is_there(self.other) {
            self.said_over = self.say(OVER, &self.token())?;
        }
        Ok(self.heard || !is_there(self.other))
    }

    fn token(&self) -> [u8; 4] {
        self.seat.incarnation().to_le_bytes()
    }

    /// Looks who is there. Returns whether somebody has left.
    fn look(&mut self) -> Result<bool> {
        let now = self.seat.presence(self.slot)?;
        if now == self.other {
            return match self.options.timeout {
                Some(limit) if !is_there(now) && self.alone.elapsed() >= limit => {
                    let limit = humantime::format_duration(limit);
                    let message = format!(
                        "nobody was there for {limit}: does `ivshmemctl chat` run there, with the same --offset? \
                         If both endpoints say this, each has memory of its own: is share=on missing on the host?"
                    );
                    Err(failure(Exit::TimedOut, message))
                }
                _ => Ok(false),
            };
        }
        // What that one has said comes before the news that it is not there any more.
        while is_there(self.other) && self.receive(Duration::ZERO)? {}
        self.turn(now)
    }

    /// Tells who came or left. Returns whether somebody has left.
    fn turn(&mut self, now: Presence) -> Result<bool> {
        let before = std::mem::replace(&mut self.other, now);
        // Another one may have its place already.
        let left = is_there(before) && incarnation(before) != incarnation(now);
        if left {
            self.alone = Instant::now();
            match now {
                Presence::Lost { .. } => {
                    let text = "is silent: it crashed, or its guest is stopped";
                    self.notice("lost", text, WARNING)?;
                }
                _ => self.notice("left", "has left", WARNING)?,
            }
        }
        if let Presence::Present { peer_id, .. } = now {
            self.peer = Some(peer_id);
            // Whoever was asked before, this one was not.
            self.said_over = false;
            self.notice("here", "is here", GOOD)?;
        }
        Ok(left)
    }

    /// Sends a line if there is one, somebody who may read it, and room. Returns whether it did.
    fn send(&mut self, input: &mut Input) -> Result<bool> {
        if let Some(token) = self.owes.take() {
            if !self.say(HEARD, &token)? {
                self.owes = Some(token);
            }
        }
        let Some(line) = input.next()?.filter(|_| is_there(self.other)) else {
            return Ok(false);
        };
        let sent = self.say(LINE, line)?;
        if sent {
            input.done();
        }
        Ok(sent)
    }

    /// Returns whether there was room. If there is none the other endpoint may send as much, which is to be read first.
    fn say(&mut self, kind: u8, text: &[u8]) -> Result<bool> {
        match self.to.send(&[&[kind], text].concat(), Some(LOOK)) {
            Ok(()) => Ok(true),
            Err(Error::TimedOut) => Ok(false),
            Err(error) => again(error).map(|()| false),
        }
    }

    /// Shows a line if one comes within this time. Returns whether something came.
    fn receive(&mut self, within: Duration) -> Result<bool> {
        let mut message = Vec::new();
        match self.from.receive(&mut message, Some(within)) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => return again(error).map(|()| false),
        }
        let now = self.seat.presence(self.slot)?;
        if is_there(now) && !is_there(self.other) {
            self.turn(now)?;
        }
        match message.split_first() {
            Some((&LINE, line)) => self.show(&printable(line))?,
            Some((&OVER, token)) => self.owes = Some(token.into()),
            Some((&HEARD, token)) if token == self.token() => self.heard = true,
            _ => {}
        }
        Ok(true)
    }

    fn show(&self, line: &str) -> Result<()> {
        let answer = json!({ "event": "line", "peer_id": self.peer, "line": line });
        let text = || match self.output.is_terminal() {
            true => format!("{GOOD}{}:{GOOD:#} {line}", name(self.peer)),
            // An empty text would be no line at all.
            false => format!("{line}\n"),
        };
        Ok(self.output.answer(&answer, text)?)
    }

    /// Tells what happened to the other endpoint.
    fn notice(&self, event: &str, text: &str, style: Style) -> Result<()> {
        let text = match event {
            "alone" => text.into(),
            _ => format!("{} {text}", name(self.peer)),
        };
        notice(self.output, event, self.peer, &text, style)
    }
}

/// Tells what happened: not among the lines, which may go into a file.
fn notice(output: Output, event: &str, peer: Option<u32>, text: &str, style: Style) -> Result<()> {
    let answer = json!({ "event": event, "peer_id": peer });
    Ok(output.event(&answer, text, style)?)
}

fn is_there(presence: Presence) -> bool {
    incarnation(presence).is_some()
}

/// The number of who is there.
fn incarnation(presence: Presence) -> Option<u32> {
    match presence {
        Presence::Present { incarnation, .. } => Some(incarnation),
        _ => None,
    }
}

fn name(peer: Option<u32>) -> String {
    peer.map_or("somebody".into(), |peer| format!("peer {peer}"))
}

/// A signal that came is seen by who asks.
fn again(error: Error) -> Result<()> {
    match error {
        Error::Link(ivshmem::Error::Interrupted) => Ok(()),
        error => Err(error.into()),
    }
}
