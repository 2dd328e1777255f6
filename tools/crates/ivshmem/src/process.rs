// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Which process something belongs to.

/// The process that made something whose end is to be told to others. A child that was forked has a copy of it, and ends
/// that copy alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(u32);

impl Process {
    /// This one.
    pub fn this() -> Self {
        Self(std::process::id())
    }

    /// Whether this is the process, and no child of it.
    pub fn is_this(self) -> bool {
        self == Self::this()
    }
}
