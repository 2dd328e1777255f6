// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How guests end.

use std::process::ExitStatus;
use std::time::Duration;

use vmbench_proto::FATAL_PREFIX;

use crate::board::Board;
use crate::monitor::Failure;
use crate::process::Child;
use crate::Error;

/// How a kernel's last line begins.
const PANIC: &str = "Kernel panic - not syncing";

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was powered off, or QEMU was told to quit.
    PowerOff,
    /// Its kernel panicked, with this line.
    Panic(String),
    /// Anything else, in words.
    Other(String),
}

/// The error for a QEMU that did not even open its monitor. It has `limit` to end.
pub(crate) fn post_mortem(
    name: &str,
    process: &mut Child,
    board: &Board,
    failure: Failure,
    limit: Duration,
) -> Error {
    let reason = match process.wait(limit) {
        Ok(Some(status)) => match classify(status, board, limit) {
            Exit::Other(reason) => reason,
            other => format!("{other:?}"),
        },
        _ => format!("its monitor cannot be used: {failure:?}"),
    };
    Error::Gone {
        guest: name.into(),
        reason,
        log: board.lock().console_text(),
    }
}

/// How a guest ended whose QEMU has ended with `status`. Reading what it said last may take `limit`.
pub(crate) fn classify(status: ExitStatus, board: &Board, limit: Duration) -> Exit {
    board.wait_for_last_words(limit);
    let state = board.lock();
    let console = state.console_text();
    if let Some(line) = panic_line(&console) {
        return Exit::Panic(line);
    }
    if let Some(line) = find_line(&console, FATAL_PREFIX) {
        return Exit::Other(line);
    }
    if status.success() {
        return Exit::PowerOff;
    }
    let complaints = String::from_utf8_lossy(&state.complaints);
    Exit::Other(format!("QEMU ended, {status}: {}", complaints.trim()))
}

/// The kernel's line about its panic.
pub(crate) fn panic_line(console: &str) -> Option<String> {
    find_line(console, PANIC)
}

/// The part of the first line with `sign` that begins at it.
fn find_line(log: &str, sign: &str) -> Option<String> {
    log.lines()
        .find_map(|line| line.find(sign).map(|at| line[at..].to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_its_sign() {
        let log = "[ 1.0] fine\n[ 2.0] Kernel panic - not syncing: sysrq triggered crash\n";
        let panic = "Kernel panic - not syncing: sysrq triggered crash";
        assert_eq!(find_line(log, PANIC).as_deref(), Some(panic));
        assert_eq!(find_line("fine", PANIC), None);
    }
}
