// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The system that is looked at.

use std::path::PathBuf;

/// The system that is looked at.
pub struct Patient {
    /// Where its file system begins.
    pub root: PathBuf,
    /// Release of the kernel that runs.
    pub release: String,
}
