// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How answers are written: for people, or as JSON.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use comfy_table::{presets, Table};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::queue::Queue;

/// What is good.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// What deserves a look.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// What is wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// The header of a table.
const HEADER: Style = Style::new().bold();

/// The standard output. Colours are for terminals only.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    terminal: bool,
    /// What writes, if that is another thread.
    queue: Option<&'static Queue>,
}

impl Output {
    /// Answers in JSON, or for people.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            terminal: io::stdout().is_terminal(),
            queue: None,
        }
    }

    /// The same for work that goes on however slowly anybody reads: what cannot be written in time is left out.
    pub fn detached(self) -> Result<Self> {
        // As long as the program.
        let queue = Box::leak(Box::new(Queue::start()?));
        Ok(Self {
            queue: Some(queue),
            ..self
        })
    }

    /// Waits until what is [detached](Self::detached) is written, for a second at most.
    pub fn finish(self) {
        if let Some(queue) = self.queue {
            queue.finish();
        }
    }

    /// The same without colours, for what draws them itself.
    pub fn plain(self) -> Self {
        Self {
            terminal: false,
            ..self
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
        match self.queue {
            _ if text.is_empty() => {}
            // The work goes on if it cannot be written.
            Some(queue) => queue.put(move || drop(write_answer(&text))),
            None => write_answer(&text)?,
        }
        Ok(())
    }

    /// Tells what happened: in JSON an object among the answers, else a line of the standard error, not among the
    /// answers, which may go into a file.
    pub fn event<T: Serialize>(self, value: &T, text: &str, style: Style) -> io::Result<()> {
        if self.json {
            return self.answer(value, String::new);
        }
        let text = format!("{style}* {text}{style:#}");
        match self.queue {
            Some(queue) => queue.put(move || complain(&text)),
            None => complain(&text),
        }
        Ok(())
    }

    /// As [`event`](Self::event), for work that goes on if nobody reads it.
    pub fn notice<T: Serialize>(self, value: &T, text: &str, style: Style) {
        let _ = self.event(value, text, style);
    }

    /// A table: columns, whose header is bold on a terminal.
    pub fn table(self, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header(header);
        table.add_rows(rows);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let lines = table.lines().enumerate().map(|(number, line)| {
            let line = line.trim_end();
            match number {
                0 if self.terminal => format!("{HEADER}{line}{HEADER:#}\n"),
                _ => format!("{line}\n"),
            }
        });
        lines.collect()
    }
}

fn write_answer(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    writeln!(stdout, "{}", text.strip_suffix('\n').unwrap_or(text))?;
    // Whoever reads the other end of a pipe is not kept waiting for the next answer.
    stdout.flush()
}

/// Writes a line to the standard error, without colours if that is no terminal. The work goes on if it cannot be written.
pub fn complain(text: &str) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// How far something is, in one line of the standard error; nothing where that is no terminal. `template` is
/// indicatif's. What is dropped is cleared.
pub fn progress(length: u64, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    let bar = ProgressBar::new(length);
    bar.set_style(style.expect("a constant of this program"));
    bar.tick();
    bar
}

/// Bytes as people write them where that is exact: `64 MiB`, `4097 bytes`.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let exact = UNITS
        .iter()
        .find(|(_, shift)| bytes >> shift != 0 && bytes.trailing_zeros() >= *shift);
    match exact {
        Some((unit, shift)) => format!("{} {unit}", bytes >> shift),
        None => self::bytes(bytes),
    }
}

/// IDs of PCI as `lspci` writes them: `1af4:1100`.
pub fn subsystem(vendor: u16, device: u16) -> String {
    format!("{vendor:04x}:{device:04x}")
}

/// A number of bytes: `1 byte`, `4097 bytes`.
pub fn bytes(number: u64) -> String {
    match number {
        1 => "1 byte".into(),
        _ => format!("{number} bytes"),
    }
}

/// As text without what could steer a terminal: it comes from another guest.
pub fn printable(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    let steers = |c: char| c.is_control() && c != '\t';
    line.replace(steers, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cannot_steer_a_terminal() {
        assert_eq!(printable("grüß\tGott".as_bytes()), "grüß\tGott");
        assert_eq!(printable(b"\x1b[2J\r\xff"), "\u{fffd}[2J\u{fffd}\u{fffd}");
    }

    #[test]
    fn sizes_are_exact() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1), "1 byte");
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(4097), "4097 bytes");
        assert_eq!(size(64 << 20), "64 MiB");
        assert_eq!(size(1536 << 10), "1536 KiB");
        assert_eq!(size(1 << 40), "1 TiB");
    }

    #[test]
    fn a_table_is_columns_with_a_header() {
        let table = |terminal| {
            let json = false;
            let queue = None;
            let output = Output {
                json,
                terminal,
                queue,
            };
            output.table(&["A", "B"], [vec!["100".into(), "2".into()]])
        };
        assert_eq!(table(false), "A    B\n100  2\n");
        assert_eq!(table(true), "\x1b[1mA    B\x1b[0m\n100  2\n");
    }
}
