// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! All descriptors that a successor needs.

use std::os::fd::AsFd;

use crate::listeners::Listeners;
use crate::region::Region;
use crate::succession::names::{self, Named};

/// All descriptors that the successor of a server needs that has these, but for the journal. Sockets that
/// the service manager made are not among them, as it passes them on by itself.
pub(crate) fn all<'fd>(listeners: &'fd Listeners, regions: &'fd [Region]) -> Vec<Named<'fd>> {
    let mut all = Vec::new();
    for (door, listener, _) in listeners.all() {
        // The socket first: a lock without one would keep a successor off its own place.
        if let Some(lock) = listener.lock() {
            all.push((names::listener(door), vec![listener.as_fd()]));
            all.push((names::lock(door), vec![lock]));
        }
    }
    for region in regions {
        let name = &region.config.name;
        all.push((names::memory(name), vec![region.memory.as_fd()]));
        for (id, doorbells) in &region.doorbells {
            all.push((names::doorbells(name, *id), doorbells.fds()));
        }
        for (number, client) in &region.clients {
            let name = names::connection(*number, &client.door);
            all.push((name, vec![client.socket.as_fd()]));
        }
    }
    all
}
