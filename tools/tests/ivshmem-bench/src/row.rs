// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What a row of the report is: what is compared with what, and which ratio is the goal.

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
    /// Why the goal is missed, and where the floor is; nothing where it is held, or was not looked into.
    pub reason: &'static str,
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
        reason: "",
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
        reason: "",
        quantile: Quantile::P50,
    }
}

impl Row {
    /// With a goal.
    pub const fn goal(mut self, goal: f64) -> Self {
        self.goal = Some(goal);
        self
    }

    /// Why the goal is missed.
    pub const fn missed_because(mut self, reason: &'static str) -> Self {
        self.reason = reason;
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
