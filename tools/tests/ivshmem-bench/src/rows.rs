// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The rows of the report: what is compared with what, and which ratio is the goal.
//!
//! A group of rows is a file below `rows/` and a line in [`GROUPS`]; its series come from a stage.

mod calls;
mod doorbell;
mod faults;
mod handler;
mod join;
mod pair;
mod threads;
mod wake;
mod wall;

/// Rows that are measured in the same way.
#[derive(Debug)]
pub struct Group {
    /// Short name, for rows that stand alone and for files.
    pub name: &'static str,
    /// Title.
    pub title: &'static str,
    /// The stage that measures it.
    pub stage: &'static str,
    /// How it is measured.
    pub method: &'static str,
    /// What the numbers do not say.
    pub limits: &'static str,
    /// Its rows.
    pub rows: &'static [Row],
}

/// Which samples of a series are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantile {
    /// The tenth percentile: what is possible, on a busy host.
    P10,
    /// The median.
    P50,
}

/// One comparison: smaller is better.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What it is.
    pub name: &'static str,
    /// Our series.
    pub ours: &'static str,
    /// Rings, or whatever our series has in one measurement.
    pub per: f64,
    /// What it is compared with.
    pub rival: Rival,
    /// What the ratio, or the count, is not to be above.
    pub goal: Option<f64>,
    /// Which samples.
    pub quantile: Quantile,
}

/// What a row compares with.
#[derive(Clone, Copy, Debug)]
pub enum Rival {
    /// Another series, and its name in the table.
    Series(&'static str, &'static str),
    /// Nothing: the row is a count, whose goal is absolute.
    Nothing,
}

/// A row that compares the medians of two series.
pub const fn row(
    name: &'static str,
    ours: &'static str,
    rival: &'static str,
    rival_name: &'static str,
) -> Row {
    Row {
        name,
        ours,
        per: 1.0,
        rival: Rival::Series(rival, rival_name),
        goal: None,
        quantile: Quantile::P50,
    }
}

/// A row that is a count.
pub const fn count(name: &'static str, ours: &'static str) -> Row {
    Row {
        name,
        ours,
        per: 1.0,
        rival: Rival::Nothing,
        goal: None,
        quantile: Quantile::P50,
    }
}

impl Row {
    /// With a goal.
    pub const fn goal(mut self, goal: f64) -> Self {
        self.goal = Some(goal);
        self
    }

    /// Ours divided by the number of what is in one measurement.
    pub const fn per(mut self, per: f64) -> Self {
        self.per = per;
        self
    }

    /// Compares the tenth percentiles.
    pub const fn p10(mut self) -> Self {
        self.quantile = Quantile::P10;
        self
    }
}

/// All groups, in the order of the report.
pub static GROUPS: [&Group; 13] = [
    &doorbell::GROUP,
    &wake::ASLEEP,
    &wake::LOOKING,
    &wake::IDLE,
    &handler::GROUP,
    &calls::GROUP,
    &faults::LOW,
    &faults::HIGH,
    &threads::GROUP,
    &wall::RINGS,
    &wall::COPIES,
    &pair::GROUP,
    &join::GROUP,
];
