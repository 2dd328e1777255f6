// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The report: what was measured, and what comes of it.

use std::collections::BTreeMap;

use anyhow::{ensure, Context, Result};
use serde::{Deserialize, Serialize};

use crate::row::{Group, Quantile, Rival, Row};
use crate::rows::GROUPS;
use crate::series::{Run, Unit};

/// All of a measurement. What is below `groups` follows from `stages`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// Where it was measured.
    pub about: About,
    /// The groups of rows.
    pub groups: Vec<GroupReport>,
    /// All series, by stage. Not in the documentation's data.
    #[serde(default)]
    pub stages: BTreeMap<String, StageReport>,
}

/// Where a measurement was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The project's version.
    pub version: String,
    /// Release of the guests' kernel.
    pub kernel: String,
    /// QEMU's version.
    pub qemu: String,
    /// `tcg` or `kvm`.
    pub accel: String,
    /// The host's processor.
    pub cpu: String,
    /// How many of them.
    pub cpus: usize,
}

/// What a stage measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct StageReport {
    /// The unit of times.
    pub unit: Unit,
    /// The runs.
    pub runs: Vec<Run>,
}

/// A group of rows with their numbers.
#[derive(Debug, Serialize, Deserialize)]
pub struct GroupReport {
    /// Short name.
    pub name: String,
    /// Title.
    pub title: String,
    /// The unit of times.
    pub unit: Unit,
    /// How it was measured.
    pub method: String,
    /// What the numbers do not say.
    pub limits: String,
    /// The rows.
    pub rows: Vec<Line>,
}

/// A row with its numbers, which are medians of the runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What it is.
    pub name: String,
    /// Ours.
    pub ours: f64,
    /// What it is compared with; `None` for a count.
    pub rival: Option<Compared>,
    /// What the ratio, or the count, is not to be above.
    pub goal: Option<f64>,
}

/// A rival in a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// Its number.
    pub value: f64,
    /// Ours by the rival's.
    pub ratio: f64,
    /// The largest ratio of a run less the smallest, by the ratio.
    pub spread: f64,
}

impl Line {
    /// Whether the goal holds, if there is one.
    pub fn holds(&self) -> Option<bool> {
        let value = self.rival.as_ref().map_or(self.ours, |rival| rival.ratio);
        self.goal.map(|goal| value <= goal)
    }
}

impl Report {
    /// Evaluates what the stages measured. Groups whose stage did not run are left out.
    pub fn new(about: About, stages: BTreeMap<String, StageReport>) -> Result<Self> {
        let mut groups = Vec::new();
        for group in GROUPS {
            if let Some(stage) = stages.get(group.stage) {
                groups.push(GroupReport::new(group, stage)?);
            }
        }
        Ok(Self {
            about,
            groups,
            stages,
        })
    }
}

impl Report {
    /// This report with the groups of an older one that it lacks.
    ///
    /// # Errors
    ///
    /// If there are any and they were measured elsewhere: numbers of two machines are not to be compared.
    pub fn over(mut self, older: Self) -> Result<Self> {
        let place = |group: &GroupReport| GROUPS.iter().position(|known| known.name == group.name);
        let lacking = |group: &GroupReport| {
            place(group).is_some() && !self.groups.iter().any(|own| own.name == group.name)
        };
        let kept: Vec<_> = older.groups.into_iter().filter(lacking).collect();
        ensure!(
            kept.is_empty() || self.about == older.about,
            "what is left of the older report was measured with something else: measure all stages"
        );
        self.groups.extend(kept);
        self.groups.sort_by_key(place);
        Ok(self)
    }
}

/// JSON with a line for each row and each run, so that a difference between two reports can be read.
impl Report {
    /// The whole report as JSON.
    pub fn json(&self) -> Result<String> {
        let mut stages = Vec::new();
        for (name, stage) in &self.stages {
            let (name, unit) = (quote(name)?, quote(&stage.unit)?);
            let runs = lines(&stage.runs)?;
            stages.push(format!(
                "{name}: {{\"unit\": {unit}, \"runs\": [\n{runs}\n]}}"
            ));
        }
        let (about, groups) = (quote(&self.about)?, self.groups_json()?);
        let stages = stages.join(",\n");
        Ok(format!(
            "{{\n\"about\": {about},\n\"groups\": [\n{groups}\n],\n\"stages\": {{\n{stages}\n}}\n}}\n"
        ))
    }

    /// The rows as JSON, without the series that they come from.
    pub fn rows_json(&self) -> Result<String> {
        let (about, groups) = (quote(&self.about)?, self.groups_json()?);
        Ok(format!(
            "{{\n\"about\": {about},\n\"groups\": [\n{groups}\n]\n}}\n"
        ))
    }

    fn groups_json(&self) -> Result<String> {
        let mut all = Vec::new();
        for group in &self.groups {
            let fields = [
                ("name", quote(&group.name)?),
                ("title", quote(&group.title)?),
                ("unit", quote(&group.unit)?),
                ("method", quote(&group.method)?),
                ("limits", quote(&group.limits)?),
            ];
            let fields = fields.map(|(name, value)| format!("\"{name}\": {value}"));
            let (fields, rows) = (fields.join(",\n"), lines(&group.rows)?);
            all.push(format!("{{{fields},\n\"rows\": [\n{rows}\n]}}"));
        }
        Ok(all.join(",\n"))
    }
}

fn quote(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string(value)?)
}

fn lines<T: Serialize>(values: &[T]) -> Result<String> {
    let lines = values.iter().map(quote).collect::<Result<Vec<_>>>()?;
    Ok(lines.join(",\n"))
}

impl GroupReport {
    fn new(group: &Group, stage: &StageReport) -> Result<Self> {
        let rows = group
            .rows
            .iter()
            .map(|row| line(row, &stage.runs).with_context(|| format!("the row \"{}\"", row.name)))
            .collect::<Result<_>>()?;
        Ok(Self {
            name: group.name.into(),
            title: group.title.into(),
            unit: stage.unit,
            method: group.method.into(),
            limits: group.limits.into(),
            rows,
        })
    }
}

fn line(row: &Row, runs: &[Run]) -> Result<Line> {
    let ours = runs
        .iter()
        .map(|run| Ok(value(row, run, row.ours)? / row.per))
        .collect::<Result<Vec<_>>>()?;
    let rival = match row.rival {
        Rival::Nothing => None,
        Rival::Series(series, name) => Some(compare(row, runs, &ours, series, name)?),
    };
    Ok(Line {
        name: row.name.into(),
        ours: round(median(&ours), 10.0),
        rival,
        goal: row.goal,
    })
}

fn compare(row: &Row, runs: &[Run], ours: &[f64], series: &str, name: &str) -> Result<Compared> {
    let theirs = runs
        .iter()
        .map(|run| value(row, run, series))
        .collect::<Result<Vec<_>>>()?;
    let ratios: Vec<_> = ours.iter().zip(&theirs).map(|(a, b)| a / b).collect();
    let ratio = median(&ratios);
    let largest = ratios.iter().copied().fold(f64::MIN, f64::max);
    let smallest = ratios.iter().copied().fold(f64::MAX, f64::min);
    Ok(Compared {
        name: name.into(),
        value: round(median(&theirs), 10.0),
        ratio: round(ratio, 10_000.0),
        spread: round((largest - smallest) / ratio, 10_000.0),
    })
}

fn value(row: &Row, run: &Run, series: &str) -> Result<f64> {
    let quantiles = run
        .get(series)
        .with_context(|| format!("{series} was not measured"))?;
    Ok(match row.quantile {
        Quantile::P10 => quantiles.p10,
        Quantile::P50 => quantiles.p50,
    })
}

/// More digits would be noise in the data.
fn round(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::row;
    use crate::series::Quantiles;

    fn run(ours: f64, theirs: f64) -> Run {
        let all = |value| Quantiles {
            p10: value,
            p50: value,
            p90: value,
        };
        Run::from([("a".to_string(), all(ours)), ("b".to_string(), all(theirs))])
    }

    #[test]
    fn the_ratio_is_the_median_of_the_runs() {
        let runs = [run(10.0, 20.0), run(16.0, 20.0), run(12.0, 20.0)];
        let line = line(&row("x", "a", "b", "y").goal(0.6), &runs).unwrap();
        let rival = line.rival.clone().unwrap();
        assert_eq!(rival.ratio, 0.6);
        assert!((rival.spread - 0.5).abs() < 1e-9);
        assert_eq!(line.holds(), Some(true));
    }

    #[test]
    fn what_was_not_measured_again_is_kept_if_it_was_measured_with_the_same() {
        let report = |version: &str, names: &[&str]| Report {
            about: About {
                version: version.into(),
                kernel: String::new(),
                qemu: String::new(),
                accel: String::new(),
                cpu: String::new(),
                cpus: 1,
            },
            groups: names
                .iter()
                .map(|name| GroupReport {
                    name: (*name).into(),
                    title: version.into(),
                    unit: Unit::Nanoseconds,
                    method: String::new(),
                    limits: String::new(),
                    rows: Vec::new(),
                })
                .collect(),
            stages: BTreeMap::new(),
        };
        let both = report("1", &["calls", "no such group"]);
        let merged = report("1", &["server", "doorbell"]).over(both).unwrap();
        let names: Vec<_> = merged.groups.iter().map(|group| &*group.name).collect();
        assert_eq!(names, ["doorbell", "calls", "server"]);
        let older = report("1", &["doorbell"]);
        assert!(report("2", &["server"]).over(older).is_err());
        let older = report("1", &["server"]);
        assert!(report("2", &["server"]).over(older).is_ok());
    }

    #[test]
    fn a_series_that_is_missing_is_an_error() {
        assert!(line(&row("x", "a", "c", "y"), &[run(1.0, 2.0)]).is_err());
    }
}
