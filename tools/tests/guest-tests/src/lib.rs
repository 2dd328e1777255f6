// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the guest tests are made of: the built artefacts, labs in which cases run, and devices in their guests.
//!
//! The cases are in `tests/guests`, one file for each set-up of guests. `make test` builds what they
//! need and runs them; `cargo test -p guest-tests -- FILTER` runs some of them again.

pub mod artefacts;
pub mod debian;
pub mod device;
pub mod filter;
pub mod lab;
pub mod levels;
pub mod page_table;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    /// The programs in guests know what they wait for: their limit has to pass before that of the host.
    #[test]
    fn the_limit_in_guests_is_that_of_the_tests_and_passes_first() {
        let header = vmbench::checkout().join("tools/tests/selftests/limit.h");
        let header = std::fs::read_to_string(header).unwrap();
        let mut lines = header.lines();
        let seconds = lines.find_map(|line| line.strip_prefix("#define TEST_SECONDS\t"));
        let limit = Duration::from_secs(seconds.unwrap().parse().unwrap());
        assert_eq!(limit, test_limit::LIMIT);
        // What cannot be killed is told a quarter later.
        assert!(limit + limit / 4 < vmbench::DEFAULT_LIMIT);
    }
}
