// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! All descriptors that a successor needs, by name.

use std::os::fd::{AsFd, BorrowedFd};

use crate::door::Door;
use crate::listener::Listener;
use crate::names;
use crate::region::Region;
use crate::status::StatusSocket;

/// All descriptors that a successor needs, by name.
pub(crate) type Estate<'fd> = Vec<(String, Vec<BorrowedFd<'fd>>)>;

/// The estate of a server that has these. Sockets that the service manager made are not in it, as
/// it passes them on by itself.
pub(crate) fn of<'fd>(
    doors: &'fd [Door],
    status: Option<&'fd StatusSocket>,
    hand_over: Option<&'fd Listener>,
    regions: &'fd [Region],
) -> Estate<'fd> {
    let mut estate = Vec::new();
    for door in doors {
        add_listener(&mut estate, &door.name, &door.listener);
    }
    if let Some(status) = status {
        add_listener(&mut estate, names::STATUS_DOOR, &status.listener);
    }
    if let Some(listener) = hand_over {
        add_listener(&mut estate, names::HAND_OVER_DOOR, listener);
    }
    for region in regions {
        let name = &region.config.name;
        estate.push((names::memory(name), vec![region.memory.as_fd()]));
        for (id, doorbells) in &region.doorbells {
            estate.push((names::doorbells(name, *id), doorbells.fds()));
        }
        for (number, client) in &region.clients {
            let name = names::connection(*number, &client.door);
            estate.push((name, vec![client.socket.as_fd()]));
        }
    }
    estate
}

/// Adds a listening socket that this program made. Others are passed on by who made them.
fn add_listener<'fd>(estate: &mut Estate<'fd>, door: &str, listener: &'fd Listener) {
    // The socket first: a lock without one would keep a successor off its own place.
    if let Some(lock) = listener.lock() {
        estate.push((names::listener(door), vec![listener.as_fd()]));
        estate.push((names::lock(door), vec![lock]));
    }
}
