// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Measures the driver beside what a user would take instead of it.

mod about;
mod baseline;
mod chart;
mod cli;
mod host;
mod link;
mod machine;
mod network;
mod page;
mod pair;
mod report;
mod row;
mod rows;
mod series;
mod stage;
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;

use baseline::Baseline;
use cli::{Action, Cli};
use report::{Report, StageReport};
use stage::{Settings, STAGES};

fn main() -> Result<()> {
    vmbench::cleanup::on_signals().context("cannot catch signals")?;
    match Cli::parse().action {
        Action::Measure(options) => {
            let settings = Settings {
                accel: options.accel.into(),
                repeats: options.repeats,
            };
            let report = measure(settings, &options.stages)?;
            print!("{}", table::text(&report));
            save(&report, &options.json)
        }
        Action::Check { update } => check(update),
        Action::Show { json } => {
            print!("{}", table::text(&load(&json)?));
            Ok(())
        }
        Action::Document { json } => document(load(&json)?),
    }
}

fn measure(settings: Settings, wanted: &[String]) -> Result<Report> {
    let mut stages = BTreeMap::new();
    for stage in &STAGES {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == stage.name) {
            continue;
        }
        eprintln!("{}:", stage.name);
        let from = Instant::now();
        let measured =
            (stage.measure)(settings).with_context(|| format!("the stage \"{}\"", stage.name))?;
        eprintln!("  {:.0} s in all", from.elapsed().as_secs_f64());
        let report = StageReport {
            unit: measured.unit,
            runs: measured.runs,
        };
        stages.insert(stage.name.to_string(), report);
    }
    Report::new(about::about(settings.accel)?, stages)
}

fn check(update: bool) -> Result<()> {
    let now = Baseline::of(about::kernel()?, &stage::hot_paths()?)?;
    let path = baseline::path();
    if update {
        return fs::write(&path, now.text()).with_context(|| path.display().to_string());
    }
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (report, result) = Baseline::parse(&text)?.check(&now);
    print!("{report}");
    result
}

fn save(report: &Report, path: &Path) -> Result<()> {
    fs::write(path, report.json()?).with_context(|| path.display().to_string())
}

/// Reads a report and evaluates its series anew, if it has them.
fn load(path: &Path) -> Result<Report> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let report: Report = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    match report.stages.is_empty() {
        true => Ok(report),
        false => Report::new(report.about, report.stages),
    }
}

/// Writes what is in the documentation. What this report has not measured stays as it is there.
fn document(report: Report) -> Result<()> {
    let directory = vmbench::checkout().join("Documentation");
    fs::create_dir_all(directory.join(page::PICTURES))?;
    let report = &report.over(load(&directory.join(page::DATA))?)?;
    let data = page::File {
        name: page::DATA.into(),
        text: report.rows_json()?,
    };
    for file in page::files(report).into_iter().chain([data]) {
        let path = directory.join(&file.name);
        fs::write(&path, file.text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_the_tree_is_what_its_data_say() {
        let directory = vmbench::checkout().join("Documentation");
        let report = load(&directory.join(page::DATA)).unwrap();
        for file in page::files(&report) {
            let text = fs::read_to_string(directory.join(&file.name)).unwrap();
            assert!(text == file.text, "{}: call `make bench-docs`", file.name);
        }
    }
}
