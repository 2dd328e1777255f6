// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a successor has to know: how a server stands, and what happened since.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroU16;

use ivshmem_protocol::{ConnectionId, Membership, PeerId};
use serde::{Deserialize, Serialize};

/// Number of this format. Raised when an older server could misread it.
const FORMAT: u32 = 3;

/// How a server stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State<'server> {
    format: u32,
    /// Number that the next connection gets.
    pub next_connection: u64,
    /// Number of the last batch of messages that is in here.
    pub batch: u64,
    pub regions: BTreeMap<String, RegionState<'server>>,
}

/// How a region stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RegionState<'server> {
    /// Vectors of each client that has no number of its own.
    pub vectors: NonZeroU16,
    /// Whether nobody else is let in, as the operator wants.
    pub drained: bool,
    pub membership: Cow<'server, Membership>,
    /// The kernel's numbers of the eventfds of each ID, by vector.
    pub doorbells: BTreeMap<PeerId, Vec<u64>>,
}

/// What happens to a server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Record {
    /// A connection becomes a member.
    Joined {
        number: ConnectionId,
        region: String,
        fixed: Option<PeerId>,
        vectors: NonZeroU16,
        doorbells: Vec<u64>,
    },
    /// A member is to be dropped as soon as that is safe.
    Expelled { number: ConnectionId },
    /// The operator lets nobody else in, or ends that.
    Drained { region: String, drained: bool },
    /// A connection is over.
    Removed { number: ConnectionId },
    /// So many messages of the batch of this number were sent.
    Sent {
        batch: u64,
        number: ConnectionId,
        messages: usize,
    },
}

impl<'server> State<'server> {
    pub(crate) fn new(next_connection: u64, batch: u64) -> Self {
        Self {
            format: FORMAT,
            next_connection,
            batch,
            regions: BTreeMap::new(),
        }
    }

    /// Whether this program understands it.
    pub(crate) fn is_known(&self) -> bool {
        self.format == FORMAT
    }

    /// Does what a record says.
    pub(crate) fn apply(&mut self, record: Record) -> io::Result<()> {
        match record {
            Record::Joined {
                number,
                region,
                fixed,
                vectors,
                doorbells,
            } => {
                let region = self.region(&region)?;
                let joined = region.membership.to_mut().join(number, fixed, vectors);
                let id = joined.map_err(io::Error::other)?;
                region.doorbells.insert(id, doorbells);
                self.next_connection = number.0 + 1;
            }
            Record::Drained { region, drained } => self.region(&region)?.drained = drained,
            Record::Expelled { number } => self.each(|membership| {
                membership.expel(number);
            }),
            Record::Removed { number } => self.each(|membership| {
                membership.remove(number);
            }),
            Record::Sent {
                batch,
                number,
                messages,
            } => {
                self.batch = batch;
                self.each(|membership| membership.advance(number, messages));
            }
        }
        Ok(())
    }

    fn region(&mut self, name: &str) -> io::Result<&mut RegionState<'server>> {
        let unknown = || io::Error::other(format!("region {name} is unknown"));
        self.regions.get_mut(name).ok_or_else(unknown)
    }

    /// Does something in each region; only the one that has the connection takes notice.
    fn each(&mut self, what: impl Fn(&mut Membership)) {
        for region in self.regions.values_mut() {
            what(region.membership.to_mut());
        }
    }
}
