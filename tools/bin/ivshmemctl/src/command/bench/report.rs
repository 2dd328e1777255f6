// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What was measured, row by row.

use anyhow::Result;
use serde::Serialize;

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

/// The rows so far.
#[derive(Default)]
pub struct Report(pub Vec<Row>);

impl Report {
    /// Adds what was measured, or why it could not be.
    pub fn add(&mut self, group: &'static str, what: &'static str, unit: Unit, value: Result<f64>) {
        let (value, note) = match value {
            Ok(value) => (Some(value), String::new()),
            Err(error) => (None, format!("{error:#}")),
        };
        let first = self.0.iter().find(|row| row.group == group);
        let first = first.map_or(value, |row| row.value);
        let speed = value.zip(first).map(|(value, first)| match unit {
            Unit::MibPerSecond => value / first,
            Unit::Nanoseconds => first / value,
        });
        self.0.push(Row {
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
        let mut report = Report::default();
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
        let speeds: Vec<_> = report.0.iter().map(|row| row.speed).collect();
        assert_eq!(speeds, [Some(1.0), Some(1.0), Some(2.0), Some(2.0), None]);
        assert_eq!(report.0[4].note, "no");
    }
}
