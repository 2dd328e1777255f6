// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Host peers among themselves, on the real server and on one that misbehaves. (Peers and guests together:
//! `guest-tests`.)

mod fake;
mod join;
mod live;

use std::time::Duration;

/// Time after which something that ought to happen is taken not to happen.
const LIMIT: Duration = Duration::from_secs(60);
