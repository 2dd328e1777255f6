// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! All descriptors that a successor needs, by name.

use std::os::fd::{AsFd, BorrowedFd};

use crate::listener::Listener;
use crate::names;
use crate::Server;

/// All descriptors that a successor needs, by name. Sockets that the service
/// manager made are not among them, as it passes them on by itself.
pub(crate) fn of(server: &Server) -> Vec<(String, Vec<BorrowedFd<'_>>)> {
    let mut estate = Vec::new();
    for door in &server.doors {
        add_listener(&mut estate, &door.name, &door.listener);
    }
    if let Some(status) = &server.status {
        add_listener(&mut estate, names::STATUS_DOOR, &status.listener);
    }
    if let Some(listener) = &server.hand_over {
        add_listener(&mut estate, names::HAND_OVER_DOOR, listener);
    }
    for region in &server.regions {
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
fn add_listener<'fd>(
    estate: &mut Vec<(String, Vec<BorrowedFd<'fd>>)>,
    door: &str,
    listener: &'fd Listener,
) {
    // The socket first: a lock without one would keep a successor off its own place.
    if let Some(lock) = listener.lock() {
        estate.push((names::listener(door), vec![listener.as_fd()]));
        estate.push((names::lock(door), vec![lock]));
    }
}
