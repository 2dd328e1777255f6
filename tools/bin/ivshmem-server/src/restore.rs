// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! How a region comes to be: from its configuration and what the server before left of it.

use std::collections::BTreeMap;

use ivshmem_protocol::{Membership, PeerId};
use tracing::error;

use crate::doorbells::Doorbells;
use crate::error::system;
use crate::in_flight::InFlight;
use crate::memory::Memory;
use crate::poller::Poller;
use crate::region::Region;
use crate::succession::inheritance::Inheritance;
use crate::succession::names;
use crate::succession::predecessor::Predecessor;
use crate::succession::state::RegionState;
use crate::{BindError, RegionConfig, Triggers};

/// Makes a region from its configuration and what is left of the one before.
pub(crate) fn restore(
    config: &RegionConfig,
    left: Option<RegionState<'_>>,
    inheritance: &mut Inheritance,
    triggers: &Triggers,
) -> Result<Region, BindError> {
    let memory = match inheritance.take(&names::memory(&config.name)) {
        Some(fd) => Memory::adopt(fd, config)?,
        None if left.is_some() => return Err(lost(config, "the memory is missing")),
        None => Memory::create(config, || triggers.check())?,
    };
    let (mut membership, order, drained) = match left {
        Some(left) => {
            check_vectors(config, left.vectors.get())?;
            (left.membership.into_owned(), left.doorbells, left.drained)
        }
        None => (Membership::new(0), BTreeMap::new(), false),
    };
    membership.set_limit(config.max_peers as usize);
    for peer in &config.peers {
        membership
            .reserve(peer.id.into())
            .map_err(|error| BindError::FixedId(config.name.clone(), error))?;
    }
    let mut region = Region::new(config.clone(), memory, membership)?;
    region.drained = drained;
    for (id, order) in order {
        // The records do not say when eventfds are done with, as the membership does.
        if !region.membership.contains(id) && !region.membership.is_lasting(id) {
            continue;
        }
        let fds = inheritance.take_all(&names::doorbells(&config.name, id));
        let read = Doorbells::adopt(fds, &order).map_err(|error| lost(config, error))?;
        match read {
            Some(doorbells) => {
                check_fixed_vectors(config, id, &doorbells)?;
                region.doorbells.insert(id, doorbells);
            }
            // The service manager did not take all of them.
            None => error!("{}: eventfds of client {id} are missing", config.name),
        }
    }
    Ok(region)
}

/// Goes on with the connections of the server before.
pub(crate) fn resume(
    region: &mut Region,
    before: &mut Predecessor,
    poller: &Poller,
    in_flight: &InFlight,
) -> Result<(), BindError> {
    for number in region.membership.connections().collect::<Vec<_>>() {
        if let Some((door, socket)) = before.sockets.remove(&number) {
            region
                .resume(poller, in_flight, number, door, socket)
                .map_err(system("go on with a connection"))?;
        }
    }
    Ok(())
}

/// Who is there has as many vectors as before, and so has to have who comes: QEMU needs a number that it
/// can rely on.
fn check_vectors(config: &RegionConfig, had: u16) -> Result<(), BindError> {
    if had == config.vectors {
        return Ok(());
    }
    Err(BindError::InheritedVectors {
        region: config.name.clone(),
        had,
        wanted: config.vectors,
    })
}

fn check_fixed_vectors(
    config: &RegionConfig,
    id: PeerId,
    doorbells: &Doorbells,
) -> Result<(), BindError> {
    let Some(peer) = config.peers.iter().find(|peer| peer.id == id.get()) else {
        return Ok(());
    };
    let wanted = peer.checked_vectors(config)?.get();
    if doorbells.len() == usize::from(wanted) {
        return Ok(());
    }
    Err(BindError::FixedVectors {
        region: config.name.clone(),
        id,
        had: doorbells.len(),
        wanted,
    })
}

fn lost(config: &RegionConfig, why: impl ToString) -> BindError {
    BindError::Inheritance(format!("region {}: {}", config.name, why.to_string()))
}
