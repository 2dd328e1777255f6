// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Where clients come in: a listening socket of a region, or of one fixed ID.

use std::path::Path;

use crate::listener::Listener;
use crate::succession::inheritance::Inheritance;
use crate::succession::names;
use crate::{Access, BindError, Config};

/// A listening socket for clients.
#[derive(Debug)]
pub(crate) struct Door {
    pub name: String,
    pub listener: Listener,
    /// Index of the region.
    pub region: usize,
    /// Index of the peer in the region's configuration, if this is the door of one.
    pub peer: Option<usize>,
}

/// A door that has no socket yet.
struct Missing {
    name: String,
    region: usize,
    peer: Option<usize>,
    /// Whether the server can do without it.
    optional: bool,
}

/// Opens all doors: those that were passed in, those of the server before, and new ones.
pub(crate) fn open_all(
    config: &Config,
    inheritance: &mut Inheritance,
) -> Result<Vec<Door>, BindError> {
    let mut doors = Vec::new();
    let mut missing = Vec::new();
    for (index, region) in config.regions.iter().enumerate() {
        let peers = region.peers.iter().enumerate();
        let own = (None, names::door(&region.name, None), &region.socket_path);
        let all = std::iter::once(own).chain(peers.map(|(index, peer)| {
            let name = names::door(&region.name, Some(&peer.name));
            (Some(index), name, &peer.socket_path)
        }));
        for (peer, name, path) in all {
            match open(&name, path.as_deref(), &region.access, inheritance)? {
                Some(listener) => doors.push(Door {
                    name,
                    listener,
                    region: index,
                    peer,
                }),
                None => missing.push(Missing {
                    name,
                    region: index,
                    peer,
                    optional: peer.is_none() && !region.peers.is_empty(),
                }),
            }
        }
    }
    find_missing(&mut doors, missing, inheritance)?;
    Ok(doors)
}

/// Opens a listening socket, if it is known from where.
pub(crate) fn open(
    name: &str,
    path: Option<&Path>,
    access: &Access,
    inheritance: &mut Inheritance,
) -> Result<Option<Listener>, BindError> {
    if let Some(socket) = inheritance.take(name) {
        return Listener::given(name, socket).map(Some);
    }
    let Some(path) = path else {
        return Ok(None);
    };
    let socket = inheritance.take(&names::listener(name));
    let lock = inheritance.take(&names::lock(name));
    if let Some(socket) = socket {
        if let Some(listener) = Listener::adopt(path, socket, lock)? {
            return Ok(Some(listener));
        }
    }
    Listener::bind(path, access.socket_mode, access.socket_group).map(Some)
}

/// Uses the one socket of the service manager that nobody asked for by name for the one door
/// that has none: whoever has one socket only need not care about names.
fn find_missing(
    doors: &mut Vec<Door>,
    mut missing: Vec<Missing>,
    inheritance: &mut Inheritance,
) -> Result<(), BindError> {
    let mut foreign = inheritance.take_foreign();
    if let ([door], [_]) = (&missing[..], &foreign[..]) {
        let (region, peer, name) = (door.region, door.peer, door.name.clone());
        missing.clear();
        for (_, socket) in foreign.drain(..) {
            let listener = Listener::given(&name, socket)?;
            doors.push(Door {
                name: name.clone(),
                listener,
                region,
                peer,
            });
        }
    }
    if let Some((name, _)) = foreign.into_iter().next() {
        return Err(BindError::Unused(name));
    }
    match missing.into_iter().find(|door| !door.optional) {
        Some(door) => Err(BindError::NoSocket(door.name)),
        None => Ok(()),
    }
}
