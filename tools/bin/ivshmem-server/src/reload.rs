// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a running server takes over from a configuration that has changed.

use anyhow::Error;
use tracing::{error, info, warn};

use crate::door::{self, Door};
use crate::error::system;
use crate::poller::{Interest, Poller, Token};
use crate::region::Region;
use crate::succession::inheritance::Inheritance;
use crate::{restore, BindError, Config, RegionConfig, Triggers};

/// Takes over what can change in the regions that are there, and adds new ones. Returns whether there are
/// any.
pub(crate) fn apply(
    config: &Config,
    regions: &mut Vec<Region>,
    doors: &mut Vec<Door>,
    poller: &Poller,
    triggers: &Triggers,
) -> bool {
    let before = regions.len();
    for region in &mut *regions {
        let name = &region.config.name;
        match config.regions.iter().find(|new| new.name == *name) {
            Some(new) => change(region, new),
            None => warn!("{name}: not in the configuration any more, stays until the server ends"),
        }
    }
    for new in &config.regions {
        if regions.iter().any(|region| region.config.name == new.name) {
            continue;
        }
        match add(new, regions, doors, poller, triggers) {
            Ok(()) => info!(
                "{}: new, size {}, {} vectors",
                new.name, new.size, new.vectors
            ),
            Err(why) => error!("cannot add region {}: {:#}", new.name, Error::new(why)),
        }
    }
    regions.len() > before
}

fn change(region: &mut Region, new: &RegionConfig) {
    if region.config.join_rate != new.join_rate {
        region.forget_joins();
    }
    let config = &mut region.config;
    config.access.uids.clone_from(&new.access.uids);
    config.access.gids.clone_from(&new.access.gids);
    config.max_peers_per_user = new.max_peers_per_user;
    config.join_rate = new.join_rate;
    if config != new {
        warn!(
            "{}: only access lists, join-rate and max-peers-per-user change without a restart",
            new.name
        );
    }
}

fn add(
    config: &RegionConfig,
    regions: &mut Vec<Region>,
    doors: &mut Vec<Door>,
    poller: &Poller,
    triggers: &Triggers,
) -> Result<(), BindError> {
    let mut added = door::open_all(&config.clone().into(), &mut Inheritance::default())?;
    let region = restore::restore(config, None, &mut Inheritance::default(), triggers)?;
    for (number, door) in added.iter_mut().enumerate() {
        door.region = regions.len();
        poller
            .add(
                &door.listener,
                Token::Door(doors.len() + number),
                Interest::READ,
            )
            .map_err(system("add to the epoll instance"))?;
    }
    regions.push(region);
    doors.extend(added);
    Ok(())
}
