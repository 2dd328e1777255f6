// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Whether what is measured again and again stays at its level.

use std::collections::BTreeMap;

/// What was measured at one time: numbers by their names.
pub type Measure = BTreeMap<String, i64>;

/// Measures, in the order in which they were taken. One that lacks a number counts as 0 in it.
#[derive(Clone, Debug, Default)]
pub struct Levels(Vec<Measure>);

/// How one number went. The level of some measures is the least of them: what is used for a while makes single ones higher,
/// and what is never given back makes all of them higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Of the first quarter of the measures.
    pub first: i64,
    /// Of the last quarter.
    pub last: i64,
    /// The highest measure of all.
    pub most: i64,
}

impl Level {
    /// By how much it has grown.
    pub fn growth(self) -> i64 {
        self.last - self.first
    }
}

impl Levels {
    /// Adds the next measure.
    pub fn add(&mut self, measure: Measure) {
        self.0.push(measure);
    }

    /// The names of all numbers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<_> = self.0.iter().flat_map(BTreeMap::keys).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(String::as_str)
    }

    /// How this number went; `None` if nothing was measured.
    pub fn of(&self, name: &str) -> Option<Level> {
        let values = |measure: &Measure| measure.get(name).copied().unwrap_or(0);
        let values: Vec<i64> = self.0.iter().map(values).collect();
        let quarter = values.len().div_ceil(4);
        Some(Level {
            first: *values[..quarter].iter().min()?,
            last: *values[values.len() - quarter..].iter().min()?,
            most: *values.iter().max()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(values: impl IntoIterator<Item = i64>) -> Option<Level> {
        let mut levels = Levels::default();
        for value in values {
            levels.add(Measure::from([("it".into(), value)]));
        }
        levels.of("it")
    }

    #[test]
    fn what_each_round_leaves_behind_is_seen_below_what_comes_and_goes() {
        let noise = |round: i64| round % 3 * 50;
        let level = level((0..40).map(|round| 1000 + round + noise(round)));
        assert_eq!(level.map(Level::growth), Some(30));
    }

    #[test]
    fn what_comes_and_goes_has_not_grown() {
        let level = level([7, 900, 7, 7, 500, 7, 7, 800]).unwrap();
        assert_eq!((level.growth(), level.most), (0, 900));
    }

    #[test]
    fn two_measures_are_a_first_and_a_last() {
        assert_eq!(level([3, 5]).map(Level::growth), Some(2));
        assert_eq!(level([]), None);
    }

    #[test]
    fn what_was_not_there_was_0() {
        let mut levels = Levels::default();
        levels.add(Measure::new());
        levels.add(Measure::from([("new".into(), 4)]));
        assert_eq!(levels.of("new").map(Level::growth), Some(4));
        assert_eq!(levels.names().collect::<Vec<_>>(), ["new"]);
    }
}
