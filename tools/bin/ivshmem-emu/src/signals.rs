// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Signals that end the program.

use std::fs;
use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// Signals of a terminal. Whoever starts the program by `nohup`, or a script in the background, has them ignored so
/// that it goes on.
const OF_TERMINAL: [i32; 3] = [SIGHUP, SIGINT, SIGQUIT];

/// The signals after which sockets are removed before the program ends, from now on.
pub fn ending() -> io::Result<Signals> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored(&status).unwrap_or(0);
    let of_terminal = OF_TERMINAL
        .into_iter()
        .filter(|signal| ignored & 1 << (signal - 1) == 0);
    Signals::new(of_terminal.chain([SIGTERM]))
}

/// The signals that do nothing, as `/proc/PID/status` has them: a bit for each, the lowest for signal 1.
fn ignored(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_found() {
        let status =
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000440\n";
        assert_eq!(ignored(status), Some(1 << 12 | 1 << 0));
        assert_eq!(ignored("State:\tS (sleeping)\n"), None);
    }
}
