// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the programs in guests print, and the unit that it is in.

use std::collections::BTreeMap;

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};

/// What time is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Executed instructions.
    Instructions,
    /// Nanoseconds.
    Nanoseconds,
}

impl Unit {
    /// The unit's name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Nanoseconds => "ns",
        }
    }
}

/// Samples of one thing. A count has three times the same value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The value below which a tenth of the samples are.
    pub p10: f64,
    /// The median.
    pub p50: f64,
    /// The value below which nine tenths are.
    pub p90: f64,
}

impl Quantiles {
    /// Of a count.
    pub fn all(value: f64) -> Self {
        Self {
            p10: value,
            p50: value,
            p90: value,
        }
    }

    fn times(self, factor: f64) -> Self {
        Self {
            p10: self.p10 * factor,
            p50: self.p50 * factor,
            p90: self.p90 * factor,
        }
    }
}

/// One run of measurements, by name, such as `doorbell.RING`.
pub type Run = BTreeMap<String, Quantiles>;

/// Ticks of the time stamp counter that an instruction takes under `-icount shift=1`.
const TICKS_PER_INSTRUCTION: f64 = 2.0;

/// Reads a program's output.
pub fn parse(text: &str, unit: Unit) -> Result<Run> {
    let mut run = Run::new();
    let mut per_tick = None;
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["ticks_per_second", rate] => {
                per_tick = Some(match unit {
                    Unit::Instructions => 1.0 / TICKS_PER_INSTRUCTION,
                    Unit::Nanoseconds => 1e9 / number(rate)?,
                });
            }
            ["series", name, p10, p50, p90, _samples] => {
                let quantiles = Quantiles {
                    p10: number(p10)?,
                    p50: number(p50)?,
                    p90: number(p90)?,
                };
                let per_tick = per_tick.context("times before the tick rate")?;
                run.insert((*name).to_string(), quantiles.times(per_tick));
            }
            ["count", name, value] => {
                run.insert((*name).to_string(), Quantiles::all(number(value)?));
            }
            _ => bail!("not a measurement: {line}"),
        }
    }
    Ok(run)
}

fn number(word: &str) -> Result<f64> {
    word.parse()
        .with_context(|| format!("{word} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str =
        "ticks_per_second 1000000000\nseries a.b 2.00 4.00 8.00 101\ncount a.c 3\n";

    #[test]
    fn times_get_the_unit_and_counts_stay() {
        let run = parse(OUTPUT, Unit::Instructions).unwrap();
        assert_eq!(
            run["a.b"],
            Quantiles {
                p10: 1.0,
                p50: 2.0,
                p90: 4.0
            }
        );
        assert_eq!(run["a.c"], Quantiles::all(3.0));
        let run = parse(
            &OUTPUT.replace("1000000000", "2000000000"),
            Unit::Nanoseconds,
        )
        .unwrap();
        assert_eq!(
            run["a.b"],
            Quantiles {
                p10: 1.0,
                p50: 2.0,
                p90: 4.0
            }
        );
    }

    #[test]
    fn what_is_no_measurement_is_an_error() {
        assert!(parse("series a.b 1 2", Unit::Instructions).is_err());
        assert!(parse("series a.b 1 2 3 4", Unit::Instructions).is_err());
    }
}
