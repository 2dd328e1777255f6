// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What can go wrong, and how it is told.

use std::fmt;
use std::path::Path;
use std::time::Duration;

/// How many lines of a guest's console an error shows.
const TAIL_LINES: usize = 40;
/// How many it shows at most of a panic, which is shown from its first line on: a trace's length varies.
const PANIC_LINES: usize = 200;

/// Result of everything that can fail here.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a guest could not do what was asked.
///
/// A command that ran and exited with any code is not an error; see [`Output`](crate::Output).
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something on the host is missing or failed before the guest could matter.
    #[error("{0}")]
    Setup(String),
    /// The guest's kernel panicked.
    #[error("guest {guest}: {line}{}", Tail::from(.log, .line))]
    Panic {
        /// Name of the guest.
        guest: String,
        /// The kernel's line about it.
        line: String,
        /// The guest's console from boot on.
        log: String,
    },
    /// The guest is no longer there, and its kernel did not panic.
    #[error("guest {guest}: {reason}{}", Tail::of(.log))]
    Gone {
        /// Name of the guest.
        guest: String,
        /// QEMU's last words and exit status, or the agent's reason for giving up.
        reason: String,
        /// The guest's console from boot on.
        log: String,
    },
    /// The guest is there but did not answer in time: it hangs, is stopped, or is slower than the
    /// limit allows.
    #[error("guest {guest}: {what} not done within {} s{}", .limit.as_secs_f32(), Tail::of(.log))]
    NoAnswer {
        /// Name of the guest.
        guest: String,
        /// What was waited for.
        what: String,
        /// How long it was waited for.
        limit: Duration,
        /// The guest's console from boot on.
        log: String,
    },
    /// The agent in the guest is well and could not do what was asked.
    #[error("guest {guest}: {message}")]
    Refused {
        /// Name of the guest.
        guest: String,
        /// The agent's words.
        message: String,
    },
    /// A command did not exit with 0, and [`Output::check`](crate::Output::check) was asked.
    #[error("{0}")]
    Command(String),
    /// QEMU refused a QMP command or did not answer it in time, or an awaited event did not come.
    #[error("guest {guest}: QMP {command}: {message}")]
    Qmp {
        /// Name of the guest.
        guest: String,
        /// The command or event.
        command: String,
        /// QEMU's words, or what was waited for in vain.
        message: String,
    },
}

impl Error {
    /// The name and the console of the guest that failed, if it was the guest that failed.
    pub fn console(&self) -> Option<(&str, &str)> {
        match self {
            Self::Panic { guest, log, .. }
            | Self::Gone { guest, log, .. }
            | Self::NoAnswer { guest, log, .. } => Some((guest, log)),
            _ => None,
        }
    }

    /// An I/O error with the thing that it happened to.
    pub(crate) fn io(what: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Setup(format!("{what}: {error}"))
    }

    /// An I/O error with the file that it happened to.
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        Self::io(path.display())
    }
}

/// As `Display`: an `unwrap` in a test shall show the end of the guest's log as a person wants to read
/// it, not all of it in one line.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Shows the end of a console log below an error.
struct Tail<'a> {
    log: &'a str,
    /// The first line that matters, if it is known.
    from: Option<&'a str>,
}

impl<'a> Tail<'a> {
    fn of(log: &'a str) -> Self {
        Self { log, from: None }
    }

    fn from(log: &'a str, line: &'a str) -> Self {
        let from = Some(line);
        Self { log, from }
    }

    /// How many of the `lines` are left out.
    fn skipped(&self, lines: &[&str]) -> usize {
        let tail = lines.len().saturating_sub(TAIL_LINES);
        let first = self
            .from
            .and_then(|from| lines.iter().position(|line| line.contains(from)));
        first.map_or(tail, |first| {
            first.clamp(lines.len().saturating_sub(PANIC_LINES), tail)
        })
    }
}

impl fmt::Display for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<&str> = self.log.lines().collect();
        let skipped = self.skipped(&lines);
        if lines.is_empty() {
            return write!(f, "\n(nothing on its console)");
        }
        write!(f, "\n--- end of its console")?;
        if skipped > 0 {
            write!(f, " ({skipped} lines above)")?;
        }
        for line in &lines[skipped..] {
            write!(f, "\n{line}")?;
        }
        write!(f, "\n---")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_the_log_is_shown() {
        let log: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let error = Error::Gone {
            guest: "a".into(),
            reason: "QEMU exited".into(),
            log,
        };
        let text = error.to_string();
        assert!(text.starts_with("guest a: QEMU exited\n"), "{text}");
        assert!(text.contains("(60 lines above)"), "{text}");
        assert!(text.contains("\nline 60\n") && text.ends_with("\nline 99\n---"));
        assert!(!text.contains("line 59"));
    }
    #[test]
    fn a_panic_is_shown_from_its_first_line_on() {
        let panic = |trace: usize| Error::Panic {
            guest: "a".into(),
            line: "Kernel panic: no".into(),
            log: format!(
                "before\n[ 1.0] Kernel panic: no\n{}",
                "trace\n".repeat(trace)
            ),
        };
        let shown = |trace| panic(trace).to_string().lines().count() - 3; // the error, and a line on each side
        assert_eq!(shown(10), 12, "all of a short console");
        assert_eq!(shown(39), 40);
        assert_eq!(shown(100), 101);
        assert_eq!(shown(1000), PANIC_LINES);
    }
}
