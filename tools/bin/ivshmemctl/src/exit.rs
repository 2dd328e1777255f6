// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How the program ends: exit codes, and what it says of a failure.

use std::io;
use std::process::ExitCode;

use anstyle::AnsiColor;
use serde_json::json;

use crate::output::complain;

/// The exit codes. They are documented, and keep their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// A failure that has no code of its own.
    Failure = 1,
    /// Wrong usage. The parser of the command line knows it too.
    Usage = 2,
    /// There is no such device or server, or it went away.
    NoDevice = 3,
    /// The user may not do this.
    Permission = 4,
    /// The time limit passed.
    TimedOut = 5,
    /// The device cannot do it: no doorbell, no such part of the memory, or, where that can be known, no such peer or vector.
    Unable = 6,
    /// `doctor` found a problem, or data arrived damaged.
    Wrong = 7,
}

impl Exit {
    /// All of them, with what the manual says.
    pub const ALL: [(Self, &str); 8] = [
        (Self::Success, "done"),
        (
            Self::Failure,
            "failed in a way that has no number of its own",
        ),
        (Self::Usage, "wrong usage"),
        (
            Self::NoDevice,
            "there is no such device or server, or it went away",
        ),
        (Self::Permission, "permission denied"),
        (Self::TimedOut, "the time limit passed"),
        (
            Self::Unable,
            "the device cannot do it: no doorbell, outside of the memory, or, where that can be known, no such peer or vector",
        ),
        (
            Self::Wrong,
            "doctor found a problem, or data arrived damaged",
        ),
    ];

    /// The number.
    pub fn code(self) -> u8 {
        // CAST: A fieldless enum with explicit values below 8.
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// A failure of this program's own, with its exit code.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    message: String,
}

/// A failure with this exit code. The message ends with what helps.
pub fn failure(exit: Exit, message: impl Into<String>) -> anyhow::Error {
    let message = message.into();
    Failure { exit, message }.into()
}

/// The failure of a device that went away.
pub fn gone() -> anyhow::Error {
    let message = "the device is gone: unplugged, or its driver was unbound";
    failure(Exit::NoDevice, message)
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The exit code that belongs to an error: that of the first of its causes that has one.
pub fn exit_of(error: &anyhow::Error) -> Exit {
    let known = error.chain().find_map(|cause| {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            Some(failure.exit)
        } else if let Some(error) = cause.downcast_ref::<ivshmem::Error>() {
            of_library(error)
        } else if let Some(error) = cause.downcast_ref::<ivshmem_channel::Error>() {
            of_channel(error)
        } else if cause.is::<ivshmem::AccessError>() {
            Some(Exit::Unable)
        } else {
            of_system(cause.downcast_ref::<io::Error>()?)
        }
    });
    known.unwrap_or(Exit::Failure)
}

fn of_library(error: &ivshmem::Error) -> Option<Exit> {
    use ivshmem::Error;
    match error {
        Error::NoNode(_)
        | Error::NoDevice(_)
        | Error::NotIvshmem(_)
        | Error::Gone
        | Error::Claimed { .. } => Some(Exit::NoDevice),
        Error::Permission(_) | Error::ReadOnly => Some(Exit::Permission),
        Error::NoDoorbell
        | Error::NoInterrupts
        | Error::NoMemory(_)
        | Error::Argument(_)
        | Error::Access(_) => Some(Exit::Unable),
        _ => None,
    }
}

fn of_channel(error: &ivshmem_channel::Error) -> Option<Exit> {
    use ivshmem_channel::Error;
    match error {
        Error::Link(error) => of_library(error),
        Error::Corrupt(_) => Some(Exit::Wrong),
        Error::TimedOut => Some(Exit::TimedOut),
        Error::Layout(_) | Error::NotWriteBack => Some(Exit::Unable),
        _ => None,
    }
}

fn of_system(error: &io::Error) -> Option<Exit> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Some(Exit::Permission),
        _ => None,
    }
}

/// Writes what went wrong to the standard error, and returns the exit code.
pub fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    // Who closed the pipe has seen enough: `ivshmemctl dump | head`.
    let closed = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    if error.downcast_ref::<io::Error>().is_some_and(closed) {
        return Exit::Success.into();
    }
    let exit = exit_of(error);
    if json {
        let value = json!({ "error": format!("{error:#}"), "exit": exit.code() });
        complain(&value.to_string());
    } else {
        let red = AnsiColor::Red.on_default().bold();
        complain(&format!("{red}error:{red:#} {error:#}"));
    }
    exit.into()
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_table_is_complete_and_in_order() {
        for (number, (exit, _)) in Exit::ALL.iter().enumerate() {
            assert_eq!(usize::from(exit.code()), number);
        }
    }

    #[test]
    fn a_cause_below_a_context_gives_the_code() {
        let error = |e: ivshmem::Error| anyhow::Error::from(e).context("above");
        let code = |e| exit_of(&error(e));
        assert_eq!(code(ivshmem::Error::Gone), Exit::NoDevice);
        assert_eq!(
            code(ivshmem::Error::Permission("/dev/x".into())),
            Exit::Permission
        );
        assert_eq!(code(ivshmem::Error::NoDoorbell), Exit::Unable);
        let refused = |kind: io::ErrorKind| ivshmem::Error::Refused {
            path: "/sys/x".into(),
            advice: "be root",
            source: kind.into(),
        };
        let kind = io::ErrorKind::PermissionDenied;
        assert_eq!(code(refused(kind)), Exit::Permission);
        let kind = io::ErrorKind::ResourceBusy;
        assert_eq!(code(refused(kind)), Exit::Failure);
        assert_eq!(code(ivshmem::Error::Interrupted), Exit::Failure);
        let denied = Err::<(), _>(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(
            exit_of(&denied.context("above").unwrap_err()),
            Exit::Permission
        );
        assert_eq!(exit_of(&failure(Exit::TimedOut, "late")), Exit::TimedOut);
    }
}
