// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The limit of open files.

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
