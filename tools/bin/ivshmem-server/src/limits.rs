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

/// Warns if the service manager keeps fewer descriptors than `needed`; what it does not take is lost.
/// Only newer ones say how many they keep.
pub fn check_store(needed: u64) {
    let limit = std::env::var("FDSTORE").ok();
    let limit = limit.and_then(|text| text.parse::<u64>().ok());
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        warn!(
            "all peers together need {needed} descriptors in the store, but it takes {limit}: a \
             successor will not have all; raise FileDescriptorStoreMax=, or lower --max-peers or \
             --vectors"
        );
    }
}
