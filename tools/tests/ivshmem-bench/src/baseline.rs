// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the hot paths cost when somebody last said that this is right, and whether they cost more now.
//!
//! Instructions are the same on any machine, but not with another kernel or compiler: the baseline is of one
//! kernel.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{bail, ensure, Context, Result};

use crate::series::Run;

/// By how much a path may grow.
const ALLOWED: f64 = 0.03;

/// The paths that are watched.
const PATHS: [&str; 14] = [
    "doorbell.RING",
    "doorbell.RING_MANY_64",
    "handler.nobody",
    "handler.eventfds_same_vector_1",
    "handler.eventfds_other_vector_256",
    "handler.asleep_read_256",
    "wake.asleep.eventfd",
    "wake.asleep.read",
    "wake.asleep.WAIT",
    "wake.asleep.WAIT_WORD",
    "wake.asleep.poll_read",
    "wake.asleep.epoll_read",
    "wake.looking.event_page",
    "calls.open_close",
];

const HEAD: &str = "\
# What the hot paths cost, in instructions; `make bench-check` fails if one grows by more than 3 %.
# `make bench-baseline` writes this file: say in the commit's body why a path costs more.
";

/// Instructions by path, and the kernel that they were counted in.
#[derive(Debug, PartialEq)]
pub struct Baseline {
    /// The kernel's release.
    pub kernel: String,
    /// Instructions of each path.
    pub paths: BTreeMap<String, f64>,
}

/// Where it is kept.
pub fn path() -> PathBuf {
    vmbench::checkout().join("tools/tests/ivshmem-bench/baseline.txt")
}

impl Baseline {
    /// Picks the watched paths out of a run.
    pub fn of(kernel: String, run: &Run) -> Result<Self> {
        let path = |name: &str| {
            let quantiles = run
                .get(name)
                .with_context(|| format!("{name} was not measured"))?;
            Ok((name.to_string(), quantiles.p50))
        };
        let paths = PATHS.into_iter().map(path);
        let paths = paths.collect::<Result<_>>()?;
        Ok(Self { kernel, paths })
    }

    /// Reads what [`Baseline::text`] wrote.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut kernel, mut paths) = (None, BTreeMap::new());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["kernel", release] => kernel = Some((*release).to_string()),
                [name, instructions] => {
                    let instructions = instructions.parse().context(line.to_string())?;
                    paths.insert((*name).to_string(), instructions);
                }
                _ => bail!("not a line of a baseline: {line}"),
            }
        }
        let kernel = kernel.context("the baseline does not name its kernel")?;
        Ok(Self { kernel, paths })
    }

    /// As a file.
    pub fn text(&self) -> String {
        let mut text = format!("{HEAD}kernel {}\n", self.kernel);
        for (name, instructions) in &self.paths {
            let _ = writeln!(text, "{name} {instructions:.0}");
        }
        text
    }

    /// Compares what is measured `now` with this. The report, and an error if a path has grown.
    pub fn check(&self, now: &Self) -> (String, Result<()>) {
        let mut report = String::new();
        let result = self.compare(now, &mut report);
        (report, result)
    }

    fn compare(&self, now: &Self, report: &mut String) -> Result<()> {
        // A newer kernel of the distributor's is not a fault of the driver's.
        if self.kernel != now.kernel {
            let _ = writeln!(
                report,
                "NOT COMPARED: the baseline is of kernel {}, and this is {}. Call `make bench-baseline` on what \
                 the baseline is of, commit that, and check again.",
                self.kernel, now.kernel
            );
            return Ok(());
        }
        let mut grown = Vec::new();
        for (name, now) in &now.paths {
            let Some(before) = self.paths.get(name) else {
                bail!("{name} is not in the baseline: call `make bench-baseline`");
            };
            let percent = (now / before - 1.0) * 100.0;
            let _ = writeln!(
                report,
                "  {name:<36} {before:>8.0} {now:>8.0} {percent:>+7.1} %"
            );
            if *now > before * (1.0 + ALLOWED) {
                grown.push(format!("{name} by {percent:.1} %"));
            }
        }
        ensure!(
            grown.is_empty(),
            "paths that cost more than 3 % more instructions than in {}: {}. If that is right, call `make \
             bench-baseline` and say why in the commit",
            path().display(),
            grown.join(", ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(kernel: &str, instructions: f64) -> Baseline {
        Baseline {
            kernel: kernel.into(),
            paths: BTreeMap::from([("a.b".to_string(), instructions)]),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let baseline = baseline("7.3.4", 1234.0);
        assert_eq!(Baseline::parse(&baseline.text()).unwrap(), baseline);
    }

    #[test]
    fn three_percent_are_allowed() {
        let before = baseline("7.3.4", 1000.0);
        assert!(before.check(&baseline("7.3.4", 1030.0)).1.is_ok());
        assert!(before.check(&baseline("7.3.4", 500.0)).1.is_ok());
        let error = before.check(&baseline("7.3.4", 1031.0)).1.unwrap_err();
        assert!(error.to_string().contains("a.b by 3.1 %"), "{error}");
    }

    #[test]
    fn a_new_path_is_an_error() {
        let before = baseline("7.3.4", 1000.0);
        let mut more = baseline("7.3.4", 1000.0);
        more.paths.insert("a.c".into(), 1.0);
        assert!(before.check(&more).1.is_err());
    }

    #[test]
    fn another_kernel_is_not_compared_and_says_so() {
        let before = baseline("7.3.4", 1000.0);
        let (report, result) = before.check(&baseline("7.3.5", 9000.0));
        assert!(result.is_ok());
        assert!(report.contains("NOT COMPARED"), "{report}");
    }

    #[test]
    fn the_baseline_in_the_tree_has_all_paths() {
        let text = std::fs::read_to_string(path()).unwrap();
        let baseline = Baseline::parse(&text).unwrap();
        for name in PATHS {
            assert!(baseline.paths.contains_key(name), "{name}");
        }
    }
}
