// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What is told of the work: in the log, and with `--json` as objects on the standard output.

use std::io::{self, Write};

use serde_json::Value;

/// The standard output.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// In JSON, or for people.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Tells in JSON what happened, which the log says for people.
    pub fn event(self, value: &Value) {
        if self.json {
            write(&value.to_string());
        }
    }

    /// Tells what was asked for.
    pub fn answer(self, value: &Value, text: &str) {
        match self.json {
            true => write(&value.to_string()),
            false => write(text),
        }
    }
}

/// Who has closed the standard output wants no more of it, and the work goes on.
fn write(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{}", text.trim_end());
    let _ = stdout.flush();
}
