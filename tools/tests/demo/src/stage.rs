// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How the story is told: acts, remarks, and what the guests say.

use std::time::Instant;

use anstream::println;
use anstyle::{AnsiColor, Style};

const ACT: Style = Style::new().bold();
const REMARK: Style = Style::new().dimmed();

/// The standard output, coloured on a terminal.
pub struct Stage {
    begin: Instant,
}

impl Stage {
    /// An empty stage.
    pub fn new() -> Self {
        Self {
            begin: Instant::now(),
        }
    }

    /// Begins an act.
    pub fn act(&self, title: &str) {
        println!("\n{ACT}{title}{ACT:#}");
    }

    /// A remark of the narrator.
    pub fn say(&self, text: &str) {
        println!("  {REMARK}{text}{REMARK:#}");
    }

    /// A line that a guest said.
    pub fn line(&self, name: &str, text: &str) {
        let colour = match name {
            "A" => AnsiColor::Cyan,
            _ => AnsiColor::Yellow,
        };
        let style = colour.on_default().bold();
        println!("  {style}{name} |{style:#} {text}");
    }

    /// Several of them.
    pub fn lines<'a>(&self, name: &str, lines: impl Iterator<Item = &'a str>) {
        lines.for_each(|line| self.line(name, line));
    }

    /// The end.
    pub fn end(&self) {
        let style = AnsiColor::Green.on_default().bold();
        println!(
            "\n{style}The two guests have talked.{style:#} ({:.1} s)",
            self.begin.elapsed().as_secs_f32()
        );
    }
}
