// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! How many descriptors this process and its service manager can have.

use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use tracing::warn;

/// Raises the limit of open files as far as allowed, and warns if that is less than `needed`.
pub fn raise_descriptor_limit(needed: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(error) => {
            warn!("cannot raise the limit of open files: {error}");
            current
        }
    };
    if let Some(limit) = current.filter(|limit| *limit < needed) {
        warn!(
            "all peers together need {needed} open files, but the limit is {limit}: clients will \
             be refused before --max-peers is reached; raise the limit (ulimit -Hn, LimitNOFILE=), \
             or lower --max-peers or --vectors"
        );
    }
}

/// Warns if more descriptors than allowed can be in sockets, unread, which stops sending to everybody.
pub fn check_in_flight(needed: u64) {
    let limit = getrlimit(Resource::Nofile).current;
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        warn!(
            "clients that do not read can hold {needed} descriptors in their sockets, but without \
             privileges a user can have {limit} there: they could stop all sending; raise the limit \
             (ulimit -Hn, LimitNOFILE=), or lower --max-peers"
        );
    }
}

/// Warns if the service manager keeps fewer descriptors than `needed`.
pub fn check_store(room: Option<u64>, needed: u64) {
    if let Some(room) = room.filter(|room| *room < needed) {
        warn!(
            "all peers together need {needed} descriptors in the store, but it takes {room}: clients \
             will be refused before --max-peers is reached; raise FileDescriptorStoreMax=, or lower \
             --max-peers or --vectors"
        );
    }
}
