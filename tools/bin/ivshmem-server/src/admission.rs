// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Who is let in.

use std::num::NonZeroU16;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use ivshmem_protocol::{ConnectionId, JoinError, PeerId};
use rustix::io::Errno;
use rustix::net::sockopt;
use tracing::{debug, warn};

use crate::access::Denial;
use crate::client::{has_hung_up, refuse, Client, Loan};
use crate::counters::Refusals;
use crate::door::Door;
use crate::doorbells::Doorbells;
use crate::poller::{Interest, Poller, Token};
use crate::region::{Common, Region};
use crate::succession::names;
use crate::succession::state::Record;
use crate::sys::Credentials;
use crate::RegionSize;

/// Target of what the log says of clients that are refused. Whoever writes it can tell it from the rest,
/// so that a flood of them does not hide what happens to others.
pub const REFUSALS: &str = "ivshmem_server::refusals";

/// Why a client is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(
        "the service manager can keep no more descriptors; raise FileDescriptorStoreMax=, or lower --max-peers"
    )]
    Store,
    #[error("the region is drained; admit clients again by the control socket")]
    Drained,
    #[error(transparent)]
    Denied(#[from] Denial),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("user {uid} has {places} clients, which is all it can have (max-peers-per-user)")]
    TooMany { uid: u32, places: u32 },
    #[error("user {0} has had too many clients join: {1} in a minute are allowed (join-rate)")]
    TooOften(u32, u32),
    #[error(
        "another client has changed the size of the memory, which was {0}: who uses it can be killed; restart all"
    )]
    Resized(RegionSize),
    #[error("cannot create its eventfds: {0}")]
    Eventfd(Errno),
    #[error("cannot number its eventfds: {0}")]
    Number(std::io::Error),
    #[error("cannot wait for it: {0}")]
    Poller(Errno),
    #[error("cannot limit what its socket takes: {0}")]
    Limit(Errno),
}

impl Refusal {
    fn counter<'a>(&self, refusals: &'a mut Refusals) -> &'a mut u64 {
        match self {
            Self::Store => &mut refusals.store,
            Self::Drained => &mut refusals.drained,
            Self::Denied(_) => &mut refusals.access,
            Self::Join(_) => &mut refusals.places,
            Self::TooMany { .. } => &mut refusals.user_places,
            Self::TooOften(..) => &mut refusals.join_rate,
            Self::Resized(_) => &mut refusals.memory,
            Self::Eventfd(_) | Self::Number(_) | Self::Poller(_) | Self::Limit(_) => {
                &mut refusals.system
            }
        }
    }
}

/// Lets in, or refuses, whoever came through a door of a region.
pub(crate) fn receive(
    region: &mut Region,
    common: &mut Common<'_>,
    door: &Door,
    number: ConnectionId,
    socket: OwnedFd,
) {
    // Nobody need hear of a client that came and went, and no ID is spent on it.
    if has_hung_up(&socket) {
        return debug!("a client connected and left at once");
    }
    let credentials = match check(region, common, door, &socket) {
        Ok(credentials) => credentials,
        Err(refusal) => return turn_away(region, door, &socket, &refusal),
    };
    let kept = names::connection(number, &door.name);
    // Before anything else: if the server were killed before, the client would get no answer.
    common.keeper.keep(&kept, &[socket.as_fd()]);
    if let Err((refusal, socket)) = admit(region, common, door, number, socket, credentials) {
        turn_away(region, door, &socket, &refusal);
        common.poller.remove(&socket);
        common.keeper.drop_kept(&kept);
    }
}

fn turn_away(region: &mut Region, door: &Door, socket: &OwnedFd, refusal: &Refusal) {
    warn!(target: REFUSALS, "{}: refusing a client: {refusal}", door.name);
    region.counters.refuse(|refusals| refusal.counter(refusals));
    refuse(socket);
}

/// Whether a client may join, as far as that is known before anything is made for it. Who is refused by this is no
/// business of the service manager.
fn check(
    region: &mut Region,
    common: &mut Common<'_>,
    door: &Door,
    socket: &OwnedFd,
) -> Result<Credentials, Refusal> {
    if !common.keeper.has_room(1 + missing_eventfds(region, door)) {
        return Err(Refusal::Store);
    }
    if region.drained {
        return Err(Refusal::Drained);
    }
    let credentials = region.config.access.check(socket.as_fd())?;
    if !region.memory.has_its_size(&region.config) {
        return Err(Refusal::Resized(region.config.size));
    }
    let fixed = fixed_id(region, door);
    if let Some(id) = fixed {
        clear_place(region, common, id);
    }
    region.membership.next_id(fixed)?;
    check_user(region, credentials.uid)?;
    Ok(credentials)
}

/// The ID of those who come through a door, if that is one of a fixed ID.
fn fixed_id(region: &Region, door: &Door) -> Option<PeerId> {
    let peer = door.peer.map(|index| &region.config.peers[index]);
    peer.map(|peer| PeerId::from(peer.id))
}

/// Number of eventfds that are not there yet for who comes through a door.
fn missing_eventfds(region: &Region, door: &Door) -> usize {
    let fixed = fixed_id(region, door);
    if fixed.is_some_and(|id| region.doorbells.contains_key(&id)) {
        return 0;
    }
    let own = door
        .peer
        .and_then(|index| region.config.peers[index].vectors);
    usize::from(own.unwrap_or(region.vectors.get()))
}

/// What has to be there before a client can become a member.
struct Place {
    id: PeerId,
    fixed: Option<PeerId>,
    vectors: NonZeroU16,
    /// `None` if there are some from another client that had the same ID.
    doorbells: Option<Doorbells>,
    /// The kernel's numbers of the eventfds.
    numbers: Vec<u64>,
}

fn admit(
    region: &mut Region,
    common: &mut Common<'_>,
    door: &Door,
    number: ConnectionId,
    socket: OwnedFd,
    credentials: Credentials,
) -> Result<(), (Refusal, OwnedFd)> {
    let prepared = prepare(region, door).and_then(|place| {
        watch(common.poller, &socket, number)?;
        let lent = common.in_flight.greet(&socket).map_err(Refusal::Limit)?;
        Ok((place, lent))
    });
    let (place, lent) = match prepared {
        Ok(prepared) => prepared,
        Err(refusal) => return Err((refusal, socket)),
    };
    let peer = door.peer.map(|index| &region.config.peers[index]);
    let client = Client {
        socket,
        interest: Interest::READ,
        door: door.name.clone(),
        credentials,
        read_only: peer.is_some_and(|peer| peer.read_only),
        loan: if lent { Loan::Greeting } else { Loan::None },
    };
    if let Some(doorbells) = place.doorbells {
        let name = names::doorbells(&region.config.name, place.id);
        common.keeper.keep(&name, &doorbells.fds());
        region.doorbells.insert(place.id, doorbells);
    }
    let record = Record::Joined {
        number,
        region: region.config.name.clone(),
        fixed: place.fixed,
        vectors: place.vectors,
        doorbells: place.numbers,
    };
    common.keeper.record(|| record);
    let recycling = region.membership.is_recycling();
    let entered = region.enter(number, place.fixed, place.vectors, client);
    if let Err((error, socket)) = entered {
        if lent {
            common.in_flight.regain();
        }
        return Err((error.into(), socket));
    }
    if region.membership.is_recycling() && !recycling {
        warn!(
            "{}: almost all IDs have been given out: from now on, they are used again and again, \
             and nobody is told when such a client leaves; restart the server when no guest needs it",
            region.config.name
        );
    }
    Ok(())
}

/// Makes sure that a user takes no more than its share.
fn check_user(region: &mut Region, uid: u32) -> Result<(), Refusal> {
    if let Some(places) = region.config.max_peers_per_user {
        let clients = region.clients.values();
        let theirs = clients.filter(|client| client.credentials.uid == uid);
        if theirs.count() >= places as usize {
            return Err(Refusal::TooMany { uid, places });
        }
    }
    if region.may_join(uid, Instant::now()) {
        return Ok(());
    }
    Err(Refusal::TooOften(uid, region.config.join_rate))
}

/// Makes the eventfds of a client for whom there is a place.
fn prepare(region: &Region, door: &Door) -> Result<Place, Refusal> {
    let peer = door.peer.map(|index| &region.config.peers[index]);
    let wanted = peer.and_then(|peer| NonZeroU16::new(peer.vectors?));
    let fixed = fixed_id(region, door);
    let id = region.membership.next_id(fixed)?;
    let Some(doorbells) = region.doorbells.get(&id) else {
        let vectors = wanted.unwrap_or(region.vectors);
        let doorbells = Doorbells::new(vectors).map_err(Refusal::Eventfd)?;
        return Ok(Place {
            id,
            fixed,
            vectors,
            numbers: doorbells.numbers().map_err(Refusal::Number)?,
            doorbells: Some(doorbells),
        });
    };
    // What was meant for the one before is of no use for this one.
    doorbells.silence();
    let count = u16::try_from(doorbells.len()).ok();
    Ok(Place {
        id,
        fixed,
        vectors: count.and_then(NonZeroU16::new).unwrap_or(region.vectors),
        doorbells: None,
        numbers: doorbells.numbers().map_err(Refusal::Number)?,
    })
}

/// Takes the place of a fixed ID from one who has hung up: a virtual machine may be back before its
/// end was noticed.
fn clear_place(region: &mut Region, common: &mut Common<'_>, id: PeerId) {
    if let Some(number) = region.membership.connection_of(id) {
        let old = region.clients.get(&number);
        if old.is_some_and(|client| has_hung_up(&client.socket)) {
            region.remove(common, number, "its successor is there");
        }
    }
}

/// Waits for what a client sends, and for its end.
fn watch(poller: &Poller, socket: &OwnedFd, number: ConnectionId) -> Result<(), Refusal> {
    // Urgent bytes are bytes like others then. Where they do not exist, neither does the option.
    let _ = sockopt::set_socket_oobinline(socket, true);
    poller
        .add(socket, Token::Client(number), Interest::READ)
        .map_err(Refusal::Poller)
}

#[cfg(test)]
mod tests;
