// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What can be seen of a region from outside: accesses, rings, life cycle.

use core::fmt;

use crate::flavour::{Outcome, PeerId};
use crate::msix::Message;
use crate::width::Width;

/// A part of the device that a guest reads and writes. The shared memory is not among them: guests map it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Configuration space.
    Config,
    /// BAR0.
    Registers,
    /// BAR1.
    Msix,
}

/// Something happened in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A guest read.
    Read {
        /// Who.
        peer: PeerId,
        /// Where.
        space: Space,
        /// At which byte of the space.
        offset: u64,
        /// How much.
        width: Width,
        /// What it got.
        value: u64,
    },
    /// A guest wrote.
    Write {
        /// Who.
        peer: PeerId,
        /// Where.
        space: Space,
        /// At which byte of the space.
        offset: u64,
        /// How much.
        width: Width,
        /// What.
        value: u64,
    },
    /// A guest wrote to the doorbell.
    Ring {
        /// Who.
        from: PeerId,
        /// For whom.
        to: PeerId,
        /// The vector.
        vector: u16,
        /// What became of it.
        outcome: Outcome,
    },
    /// A virtual machine has come.
    Attached(PeerId),
    /// A virtual machine has gone.
    Detached(PeerId),
    /// A virtual machine was reset.
    Reset(PeerId),
}

/// An interrupt on its way to a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// The virtual machine.
    pub peer: PeerId,
    /// The vector.
    pub vector: u16,
    /// The write that the device does.
    pub message: Message,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "config",
            Self::Registers => "bar0",
            Self::Msix => "bar1",
        })
    }
}

/// One line without a newline, for logs and recordings: `2 write bar0+0xc/4 0x10001`.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Read {
                peer,
                space,
                offset,
                width,
                value,
            } => {
                let bytes = width.bytes();
                write!(f, "{peer} read {space}+{offset:#x}/{bytes} {value:#x}")
            }
            Self::Write {
                peer,
                space,
                offset,
                width,
                value,
            } => {
                let bytes = width.bytes();
                write!(f, "{peer} write {space}+{offset:#x}/{bytes} {value:#x}")
            }
            Self::Ring {
                from,
                to,
                vector,
                outcome,
            } => write!(f, "{from} ring {to}.{vector} {outcome}"),
            Self::Attached(peer) => write!(f, "{peer} attached"),
            Self::Detached(peer) => write!(f, "{peer} detached"),
            Self::Reset(peer) => write!(f, "{peer} reset"),
        }
    }
}
