// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What was measured, row by row.

use anyhow::Result;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::output::progress;

/// One measurement.
#[derive(Serialize)]
pub struct Row {
    pub group: &'static str,
    pub what: &'static str,
    /// None if it could not be measured; the note says why.
    pub value: Option<f64>,
    pub unit: Unit,
    /// How many times as fast as the first of the group.
    pub speed: Option<f64>,
    pub note: String,
}

/// What it is measured in.
#[derive(Clone, Copy, PartialEq, Serialize)]
pub enum Unit {
    #[serde(rename = "MiB/s")]
    MibPerSecond,
    #[serde(rename = "ns")]
    Nanoseconds,
}

/// The rows so far, of which a line on the terminal tells.
pub struct Report {
    rows: Vec<Row>,
    progress: ProgressBar,
}

impl Report {
    /// No rows yet.
    pub fn new() -> Self {
        let progress = progress(0, "{pos} measured {wide_msg}");
        Self {
            rows: Vec::new(),
            progress,
        }
    }

    /// All rows.
    pub fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// Adds what was measured, or why it could not be.
    pub fn add(&mut self, group: &'static str, what: &'static str, unit: Unit, value: Result<f64>) {
        let (value, note) = match value {
            Ok(value) => (Some(value), String::new()),
            Err(error) => (None, format!("{error:#}")),
        };
        let first = self.rows.iter().find(|row| row.group == group);
        let first = first.map_or(value, |row| row.value);
        let speed = value.zip(first).map(|(value, first)| match unit {
            Unit::MibPerSecond => value / first,
            Unit::Nanoseconds => first / value,
        });
        self.progress.set_message(format!("({group}: {what})"));
        self.progress.inc(1);
        self.rows.push(Row {
            group,
            what,
            value,
            unit,
            speed,
            note,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_relative_to_the_first_of_the_group() {
        let mut report = Report::new();
        report.add("a", "first", Unit::Nanoseconds, Ok(100.0));
        report.add("b", "other group", Unit::MibPerSecond, Ok(10.0));
        report.add("a", "twice as fast", Unit::Nanoseconds, Ok(50.0));
        report.add("b", "twice as fast", Unit::MibPerSecond, Ok(20.0));
        report.add(
            "b",
            "refused",
            Unit::MibPerSecond,
            Err(anyhow::anyhow!("no")),
        );
        let speeds: Vec<_> = report.rows.iter().map(|row| row.speed).collect();
        assert_eq!(speeds, [Some(1.0), Some(1.0), Some(2.0), Some(2.0), None]);
        assert_eq!(report.rows[4].note, "no");
    }
}
