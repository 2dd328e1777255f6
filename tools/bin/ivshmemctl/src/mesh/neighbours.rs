// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who else is there, and what each tells of itself.

use std::time::Duration;

use anyhow::Result;
use ivshmem::Doorbell;
use ivshmem_channel::{Error, Member, Presence, Publisher, Subscriber};

use super::area::Place;
use crate::end::AnyLink;

/// How often to look who is there: several times in what the channel takes for silence.
pub const LOOK: Duration = Duration::from_millis(250);

/// Who was in a slot before, and who is there now.
pub type Change = (Option<Neighbour>, Option<Neighbour>);

/// Bytes of the incarnation before what an endpoint tells of itself.
const HEADER: usize = 4;

/// Another endpoint that is there, and has told who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its slot.
    pub slot: u32,
    /// Its number for this time.
    pub incarnation: u32,
    /// Its peer ID.
    pub peer_id: u32,
    /// What it tells of itself: another guest's bytes.
    pub notice: Vec<u8>,
}

/// One's place among the endpoints.
pub struct Mesh {
    /// Our slot.
    pub member: Member<AnyLink>,
    /// Bytes of each ring.
    pub ring: u32,
    /// Our peer ID, if we have one.
    pub peer_id: Option<u32>,
    link: AnyLink,
    publisher: Publisher<AnyLink>,
    others: Vec<Other>,
}

struct Other {
    slot: u32,
    subscriber: Subscriber<AnyLink>,
    /// The newest that was told there, by whomever.
    told: Vec<u8>,
    now: Option<Neighbour>,
    /// Who was there when the changes were asked for.
    before: Option<Neighbour>,
}

impl Mesh {
    /// Of a place that was taken.
    pub(super) fn new(place: Place) -> Result<Self> {
        let member = place.member;
        let own = member.slot();
        // Topics are numbered by the slots that publish them.
        let topic = |slot: u32| slot as usize;
        let others = (0..place.slots).filter(|slot| *slot != own);
        let others = others.map(|slot| {
            Ok(Other {
                slot,
                subscriber: member.subscriber(topic(slot))?,
                told: Vec::new(),
                now: None,
                before: None,
            })
        });
        Ok(Self {
            publisher: member.publisher(topic(own))?,
            others: others.collect::<Result<_>>()?,
            link: place.link,
            ring: place.ring,
            peer_id: place.peer_id,
            member,
        })
    }

    /// Tells the others who this endpoint is. Does not block.
    pub fn tell(&mut self, notice: &[u8]) -> Result<()> {
        let incarnation = self.member.incarnation().to_le_bytes();
        Ok(self.publisher.publish(&[&incarnation, notice].concat())?)
    }

    /// Looks who is there, and shows the others that this endpoint is, which has to be done from [time to time](LOOK). Does not
    /// block.
    pub fn look(&mut self) -> Result<()> {
        // Before it is touched.
        if self.link.is_gone() {
            return Err(Error::Link(ivshmem::Error::Gone).into());
        }
        self.member.beat()?;
        for other in &mut self.others {
            other.now = other.look(&self.member)?;
        }
        Ok(())
    }

    /// Who has come, left, or tells something else of itself, of all looks since this was called last.
    pub fn changes(&mut self) -> Vec<Change> {
        let changed = self
            .others
            .iter_mut()
            .filter(|other| other.now != other.before);
        let change = |other: &mut Other| {
            let before = std::mem::replace(&mut other.before, other.now.clone());
            (before, other.now.clone())
        };
        changed.map(change).collect()
    }

    /// The slots of the others, whether somebody is there or not.
    pub fn others(&self) -> impl Iterator<Item = u32> + '_ {
        self.others.iter().map(|other| other.slot)
    }

    /// Who was there at the last look, in the order of slots.
    pub fn neighbours(&self) -> impl Iterator<Item = &Neighbour> {
        self.others.iter().filter_map(|other| other.now.as_ref())
    }
}

impl Other {
    fn look(&mut self, member: &Member<AnyLink>) -> Result<Option<Neighbour>> {
        let Presence::Present {
            incarnation,
            peer_id,
        } = member.presence(self.slot)?
        else {
            return Ok(None);
        };
        let mut told = Vec::new();
        if self
            .subscriber
            .newest(&mut told, Some(Duration::ZERO))?
            .is_some()
        {
            self.told = told;
        }
        // What a predecessor has told is none of its business.
        let notice = self.told.split_first_chunk::<HEADER>();
        let notice = notice.filter(|(by, _)| **by == incarnation.to_le_bytes());
        Ok(notice.map(|(_, notice)| Neighbour {
            slot: self.slot,
            incarnation,
            peer_id,
            notice: notice.into(),
        }))
    }
}
