// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Three programs on the real server.

#![allow(dead_code)] // No test uses all of it.

use std::sync::Arc;
use std::time::Duration;

use ivshmem_channel::{Channel, Member};
use ivshmem_peer::{Options, Peer};
use test_limit::limit;
use vmbench::Region;

use crate::common::layout;

/// Peers of one server that have joined a channel, in which a heartbeat comes so seldom that a lost ring costs a second.
pub struct Members {
    pub members: [Member<Arc<Peer>>; 3],
    pub _region: Region,
}

pub fn members() -> Members {
    let (peers, region) = peers();
    let minute = Duration::from_secs(60);
    let layout = layout().heartbeat(minute, 2 * minute);
    Channel::create(Arc::clone(&peers[0]), 0, &layout).unwrap();
    let mut slots = 0..;
    let members = peers.map(|peer| {
        let channel = Channel::open(peer, 0).unwrap();
        channel.join(slots.next().unwrap(), 0).unwrap()
    });
    Members {
        members,
        _region: region,
    }
}

/// Peers that know each other.
pub fn peers() -> ([Arc<Peer>; 3], Region) {
    let region = Region::start(1 << 20, 1).unwrap();
    let peers = [(); 3].map(|()| {
        let patient = Options::default().patience(limit());
        Arc::new(patient.join(region.socket()).unwrap())
    });
    for one in &peers {
        // The server has told each of all.
        let mut known = one.members();
        while known.peers.values().sum::<u32>() < 2 {
            known = one.wait_members(known.version, Some(limit()));
        }
    }
    (peers, region)
}
