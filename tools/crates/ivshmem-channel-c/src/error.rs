// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Errors as numbers and as text.

use std::cell::RefCell;
use std::error::Error as _;
use std::ffi::{c_char, CString};
use std::fmt::Write;

use ivshmem_channel::{Error, Invalid};
use ivshmem_peer::JoinError;
use rustix::io::Errno;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0} is a null pointer")]
    Null(&'static str),
    #[error("{0}")]
    Argument(&'static str),
    #[error("nothing is there")]
    Nothing,
    #[error("the time is over")]
    Late,
    #[error(
        "the library has failed, which is a mistake in it: please report what it wrote to stderr"
    )]
    Panic,
    #[error("nobody has claimed an area of this name")]
    NoArea,
    #[error("there is no room for the area: {0}")]
    NoRoom(Invalid),
    #[error("{0} is neither a device nor a server's socket nor a file")]
    Kind(String),
    #[error("cannot open {path}")]
    Open {
        path: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error(transparent)]
    Channel(#[from] Error),
}

impl From<ivshmem::Error> for Failure {
    fn from(error: ivshmem::Error) -> Self {
        Self::Channel(error.into())
    }
}

impl From<ivshmem::AccessError> for Failure {
    fn from(error: ivshmem::AccessError) -> Self {
        ivshmem::Error::from(error).into()
    }
}

impl Failure {
    /// Nothing within a time limit as callers give it.
    pub fn none_within(timeout_ns: i64) -> Self {
        match timeout_ns {
            0 => Self::Nothing,
            _ => Self::Late,
        }
    }

    /// Of a sender with such a limit.
    pub fn sending(error: Error, timeout_ns: i64) -> Self {
        match error {
            Error::TimedOut => Self::none_within(timeout_ns),
            other => other.into(),
        }
    }

    fn errno(&self) -> Errno {
        match self {
            Self::Null(_) | Self::Argument(_) => Errno::INVAL,
            Self::Nothing => Errno::AGAIN,
            Self::Late => Errno::TIMEDOUT,
            Self::Panic => Errno::NOTRECOVERABLE,
            Self::NoArea => Errno::NOENT,
            Self::NoRoom(_) => Errno::NOSPC,
            Self::Kind(_) => Errno::NOTTY,
            Self::Open { source, .. } => of_io(source),
            Self::Join(error) => of_join(error),
            Self::Channel(error) => of_channel(error),
        }
    }

    /// The message and those of its causes.
    fn text(&self) -> CString {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            // Writing to a string does not fail.
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        text.retain(|char| char != '\0');
        CString::new(text).unwrap_or_default()
    }
}

/// The numbers that the header lists.
fn of_channel(error: &Error) -> Errno {
    match error {
        Error::NotAChannel(_) => Errno::NODATA,
        Error::OtherLayout | Error::OtherSize { .. } => Errno::EXIST,
        Error::Layout(_) => Errno::INVAL,
        Error::Corrupt(_) => Errno::UCLEAN,
        Error::CorruptLane { .. } => Errno::BADMSG,
        Error::Reset => Errno::STALE,
        Error::Replaced => Errno::CONNABORTED,
        Error::NotWriteBack => Errno::OPNOTSUPP,
        Error::Cancelled => Errno::CANCELED,
        Error::SlotTaken(_) => Errno::BUSY,
        Error::NoSuch(_) => Errno::NXIO,
        Error::InUse => Errno::ALREADY,
        Error::TooLong { .. } => Errno::MSGSIZE,
        Error::TimedOut | Error::NoAnswer => Errno::TIMEDOUT,
        Error::PeerLost(_) => Errno::CONNRESET,
        Error::Link(error) => of_link(error),
        _ => Errno::IO,
    }
}

fn of_link(error: &ivshmem::Error) -> Errno {
    use ivshmem::Error;
    match error {
        Error::NoNode(_) | Error::NoDevice(_) => Errno::NOENT,
        Error::NoMemory(_) => Errno::NXIO,
        Error::Permission(_) | Error::ReadOnly => Errno::ACCESS,
        Error::Open { source, .. } | Error::Refused { source, .. } | Error::Io { source, .. } => {
            of_io(source)
        }
        Error::NotIvshmem(_) => Errno::NOTTY,
        Error::Gone => Errno::NODEV,
        Error::NoDoorbell | Error::NoInterrupts => Errno::OPNOTSUPP,
        Error::Claimed { .. } => Errno::BUSY,
        Error::Interrupted => Errno::INTR,
        Error::WouldBlock => Errno::AGAIN,
        Error::Argument(_) | Error::Access(_) => Errno::INVAL,
        _ => Errno::IO,
    }
}

fn of_join(error: &JoinError) -> Errno {
    match error {
        JoinError::Connect { source, .. } | JoinError::Io { source, .. } => of_io(source),
        JoinError::NoAnswer(_) => Errno::TIMEDOUT,
        JoinError::Map(error) => of_link(error),
        _ => Errno::PROTO,
    }
}

fn of_io(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// What of a thread's failed calls is kept.
#[derive(Default)]
struct Last {
    failure: Option<Failure>,
    text: CString,
}

thread_local! {
    static LAST: RefCell<Last> = RefCell::default();
}

/// Keeps it for [`ivshmem_channel_error`], and gives its number.
pub(crate) fn keep(failure: Failure) -> i32 {
    let errno = failure.errno().raw_os_error();
    // A thread that ends has nobody who asks.
    let _ = LAST.try_with(|last| last.borrow_mut().failure = Some(failure));
    errno
}

/// Says why the last call of this thread failed that did, and what helps: an English sentence without a full stop, and
/// "" if none failed. It belongs to the library, and is valid until this thread calls the library again.
#[unsafe(no_mangle)]
pub extern "C" fn ivshmem_channel_error() -> *const c_char {
    let text = LAST.try_with(|last| {
        let mut last = last.borrow_mut();
        if let Some(failure) = last.failure.take() {
            last.text = failure.text();
        }
        last.text.as_ptr()
    });
    text.unwrap_or(c"".as_ptr())
}
