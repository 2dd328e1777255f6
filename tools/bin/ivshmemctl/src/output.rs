// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How answers are written: for people, or as JSON.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{presets, Table};
use serde::Serialize;

/// What is good.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What deserves a look.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// What is wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// The standard output. Colours and frames are for terminals only.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    terminal: bool,
}

impl Output {
    /// Answers in JSON, or for people.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            terminal: io::stdout().is_terminal(),
        }
    }

    /// Whether JSON is wanted.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Whether somebody is looking at a terminal.
    pub fn is_terminal(self) -> bool {
        self.terminal
    }

    /// Writes one answer: a line of JSON, or what `text` makes, which needs no newline at its end.
    pub fn answer<T: Serialize>(self, value: &T, text: impl FnOnce() -> String) -> io::Result<()> {
        let text = match self.json {
            true => serde_json::to_string(value)?,
            false => text(),
        };
        if text.is_empty() {
            return Ok(());
        }
        let mut stdout = anstream::stdout().lock();
        writeln!(stdout, "{}", text.strip_suffix('\n').unwrap_or(&text))?;
        // Whoever reads the other end of a pipe is not kept waiting for the next answer.
        stdout.flush()
    }

    /// A table: framed on a terminal, bare columns elsewhere.
    pub fn table(self, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
        let mut table = Table::new();
        table.load_preset(match self.terminal {
            true => presets::UTF8_FULL_CONDENSED,
            false => presets::NOTHING,
        });
        table.set_header(header);
        table.add_rows(rows);
        table
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()
    }
}

/// Bytes as people write them where that is exact: `64 MiB`, `4097 bytes`.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let exact = UNITS
        .iter()
        .find(|(_, shift)| bytes >> shift != 0 && bytes.trailing_zeros() >= *shift);
    match exact {
        Some((unit, shift)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(4097), "4097 bytes");
        assert_eq!(size(64 << 20), "64 MiB");
        assert_eq!(size(1536 << 10), "1536 KiB");
        assert_eq!(size(1 << 40), "1 TiB");
    }

    #[test]
    fn a_table_in_a_pipe_has_no_frame() {
        let output = Output {
            json: false,
            terminal: false,
        };
        let table = output.table(&["A", "B"], [vec!["1".into(), "2".into()]]);
        let lines: Vec<_> = table.lines().map(str::trim).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with('A') && lines[1].starts_with('1'));
        assert!(!table.contains(['│', '|', '\x1b']));
    }
}
