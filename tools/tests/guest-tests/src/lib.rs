// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the guest tests are made of: the built artefacts, and labs in which cases run.
//!
//! The cases are in `tests/guests`, one file for each set-up of guests. `make test` builds what they
//! need and runs them; `cargo test -p guest-tests -- FILTER` runs some of them again.

pub mod artefacts;
pub mod lab;
pub mod page_table;
