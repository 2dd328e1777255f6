// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Measures the driver beside what a user would take instead of it.

mod about;
mod cli;
mod machine;
mod report;
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
        Action::Show { json } => {
            let text = fs::read_to_string(&json).with_context(|| json.display().to_string())?;
            let old: Report = serde_json::from_str(&text)?;
            print!("{}", table::text(&Report::new(old.about, old.stages)?));
            Ok(())
        }
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

fn save(report: &Report, path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    fs::write(path, text + "\n").with_context(|| path.display().to_string())
}
