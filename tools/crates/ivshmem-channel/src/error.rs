// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What can go wrong in a channel, and what to do about it.

use ivshmem::AccessError;

use crate::layout::Invalid;
use crate::ring::Fault;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no channel that this library can use.
    #[error("no usable channel is there: {0}; wait for the other side to make it, or make one")]
    NotAChannel(Invalid),
    /// There is a channel, of another shape than was asked for.
    #[error("the channel that is there has another layout than was asked for: use the same on all sides, or recreate it")]
    OtherLayout,
    /// The layout cannot be.
    #[error("this layout cannot be: {0}")]
    Layout(Invalid),
    /// The ring buffer holds what its other end never writes. It stays so until the channel is recreated.
    #[error(
        "the channel is corrupt ({0}): recreate it with reset(), and find out who wrote there"
    )]
    Corrupt(&'static str),
    /// One sender's part of a ring buffer with several senders holds what no sender writes. It is left out until the
    /// channel is recreated; the messages of the others still arrive.
    #[error(
        "what slot {from} sends is corrupt ({what}): the others are still heard; recreate the channel with reset() to hear it again, and find out who wrote there"
    )]
    CorruptLane {
        /// The slot that sends there.
        from: u32,
        /// What is wrong.
        what: &'static str,
    },
    /// Somebody recreated the channel: open it and join again.
    #[error("the channel was recreated: open it and join again")]
    Reset,
    /// Another program joined with our slot.
    #[error("another program has taken our slot: is this one started twice?")]
    Replaced,
    /// The memory is not mapped write-back, and this machine cannot share words with others there.
    #[error("the memory is not mapped write-back, which channels need on this machine: load the driver without cache=, or, where it is not loaded, use it")]
    NotWriteBack,
    /// The wait was [cancelled](crate::Cancel).
    #[error("cancelled")]
    Cancelled,
    /// The slot belongs to a program that is alive.
    #[error(
        "slot {0} is taken by a program that is alive: end that one, or join with another slot"
    )]
    SlotTaken(u32),
    /// No such slot or ring buffer in this channel.
    #[error("the channel has no {0}")]
    NoSuch(String),
    /// This end of the ring buffer is in use in this program.
    #[error("this end of the ring buffer is in use already")]
    InUse,
    /// The message does not fit, and will not: the ring buffer is too small for it, or has become so, as a part of it was left out
    /// when another program took the slot of a sender that had fallen silent. [`Channel::reset`](crate::Channel::reset) makes all of
    /// it usable again, and loses all messages.
    #[error("{len} bytes do not fit: there is room for {max}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The longest for this ring buffer, or topic's buffer, in bytes.
        max: usize,
    },
    /// The message or value does not have the length of the type that is expected. It is done with: the next call goes on.
    #[error("slot {from} sent {len} bytes where a value has {expected}: use the same type on both sides")]
    OtherType {
        /// The slot that sent it.
        from: u32,
        /// Its length in bytes.
        len: usize,
        /// The length of the type in bytes.
        expected: usize,
    },
    /// There is an area of that name, with another size than was asked for.
    #[error(
        "the area has {there} bytes, and {wanted} were asked for: ask for the same in all programs"
    )]
    OtherSize {
        /// Its bytes.
        there: u64,
        /// Those that were asked for.
        wanted: u64,
    },
    /// The time is over.
    #[error("the time is over, and the other side has not made room")]
    TimedOut,
    /// There was no answer to a [request](crate::rpc) in time.
    #[error("the time is over, and there is no answer: what was asked for may be done already, or be done later")]
    NoAnswer,
    /// The other program has ended, or another one has taken its place.
    #[error("the program in slot {0} has ended, or another one has taken its place: what it was asked for may be done or not")]
    PeerLost(u32),
    /// The device or the server.
    #[error(transparent)]
    Link(#[from] ivshmem::Error),
}

/// Not as its cause: the text has it already.
impl From<Invalid> for Error {
    fn from(why: Invalid) -> Self {
        Self::NotAChannel(why)
    }
}

impl From<AccessError> for Error {
    fn from(error: AccessError) -> Self {
        Self::Link(error.into())
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Access(error) => error.into(),
            Fault::Corrupt(what) => Self::Corrupt(what),
            Fault::Replaced => Self::Replaced,
            Fault::TooLong { len, max } => Self::TooLong { len, max },
        }
    }
}
