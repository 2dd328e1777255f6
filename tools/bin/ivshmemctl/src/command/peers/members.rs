// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who has joined a channel, seen from outside.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use ivshmem::Doorbell;
use ivshmem_channel::{Channel, Error, Presence};
use serde::Serialize;

use crate::end::{AnyLink, End};
use crate::exit::{failure, Exit};
use crate::output::Output;

/// How long to look at most. A channel can allow an hour of silence.
const PATIENCE: Duration = Duration::from_secs(10);

/// Time between two looks: no heartbeat is faster.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Serialize)]
struct Answer {
    offset: u64,
    slots: u32,
    /// None where all have the same, without a doorbell.
    peer_id: Option<u32>,
    members: Vec<Joined>,
}

/// A slot that somebody has joined.
#[derive(Serialize)]
struct Joined {
    slot: u32,
    /// Known of who is present.
    peer_id: Option<u32>,
    state: State,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Present,
    Lost,
    /// Neither was seen in the time that this takes.
    Unknown,
}

/// Lists them.
pub fn list(end: &End, offset: u64, output: Output) -> Result<Exit> {
    let link = end.link()?;
    let peer_id = (link.vectors() > 0).then(|| link.peer_id());
    let channel = Channel::open(link, offset).map_err(|error| match error {
        Error::NotAChannel(_) => failure(
            Exit::Failure,
            format!(
                "no channel at offset {offset:#x}: start chat, cp, tunnel or forward there, or give its --offset"
            ),
        ),
        error => error.into(),
    })?;
    let answer = Answer {
        offset,
        slots: channel.plan().layout().slots(),
        peer_id,
        members: members(&channel)?,
    };
    output.answer(&answer, || text(&answer, output))?;
    Ok(Exit::Success)
}

/// Looks until it is known of each slot.
fn members(channel: &Channel<AnyLink>) -> Result<Vec<Joined>> {
    let begin = Instant::now();
    let mut observer = channel.observe();
    loop {
        let slots = 0..channel.plan().layout().slots();
        let found = slots.map(|slot| Ok((slot, observer.presence(slot)?)));
        let found: Vec<_> = found.collect::<Result<_>>()?;
        let known = found.iter().all(|(_, presence)| presence.is_some());
        if known || begin.elapsed() >= PATIENCE {
            let joined = found.into_iter();
            return Ok(joined
                .filter_map(|(slot, p)| joined_slot(slot, p))
                .collect());
        }
        sleep(LOOK);
    }
}

fn joined_slot(slot: u32, presence: Option<Presence>) -> Option<Joined> {
    let (peer_id, state) = match presence {
        Some(Presence::Absent) => return None,
        Some(Presence::Present { peer_id, .. }) => (Some(peer_id), State::Present),
        Some(Presence::Lost { .. }) => (None, State::Lost),
        None => (None, State::Unknown),
    };
    Some(Joined {
        slot,
        peer_id,
        state,
    })
}

fn text(answer: &Answer, output: Output) -> String {
    let own = answer.peer_id.map(|id| format!("; this is peer {id}"));
    let mut text = format!(
        "channel of {} slots at offset {:#x}{}\n",
        answer.slots,
        answer.offset,
        own.unwrap_or_default()
    );
    let rows = answer.members.iter().map(|member| {
        let peer_id = member.peer_id.map(|id| id.to_string());
        let state = match member.state {
            State::Present => "present",
            State::Lost => "lost",
            State::Unknown => "unknown",
        };
        vec![
            member.slot.to_string(),
            peer_id.unwrap_or_else(|| "-".into()),
            state.into(),
        ]
    });
    text += &match answer.members.is_empty() {
        true => "nobody has joined it\n".into(),
        false => output.table(&["SLOT", "PEER", "STATE"], rows),
    };
    text
}
