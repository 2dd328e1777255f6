// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Errors as texts for the console.

use std::fmt::Display;
use std::io;

/// An error with the step that failed, for the console.
pub fn context(what: impl Display) -> impl FnOnce(io::Error) -> String {
    move |error| format!("{what}: {error}")
}
