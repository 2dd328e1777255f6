// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Lines that ivshmem-bench reads.

use std::collections::BTreeMap;

/// Values by name, of several turns.
#[derive(Default)]
pub struct Series(BTreeMap<String, Vec<f64>>);

impl Series {
    /// One more value.
    pub fn add(&mut self, name: impl Into<String>, value: f64) {
        self.0.entry(name.into()).or_default().push(value);
    }

    /// Prints of each its tenth percentile, median and ninetieth percentile, in nanoseconds.
    pub fn print(self) {
        for (name, mut values) in self.0 {
            values.sort_by(f64::total_cmp);
            let at = |tenths: usize| values[(values.len() - 1) * tenths / 10];
            let count = values.len();
            println!(
                "series channels.{name} {} {} {} {count}",
                at(1),
                at(5),
                at(9)
            );
        }
    }
}

/// Prints a number that is no time.
pub fn count(name: &str, value: f64) {
    println!("count channels.{name} {value}");
}
