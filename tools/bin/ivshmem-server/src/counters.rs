// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a server counts.

use serde::Serialize;

/// What happened since the server started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Counters {
    /// Clients that were let in.
    pub joined: u64,
    /// Clients that went, for whatever reason.
    pub left: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Clients that were dropped because they did what no client may.
    pub expelled: u64,
}
