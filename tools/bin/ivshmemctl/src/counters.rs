// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the driver counts, as sysfs has it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::io::Errno;
use serde_json::{json, Map, Value};

use crate::exit::gone;

/// Where the counters are, below the PCI device.
const DIRECTORY: &str = "ivshmem_statistics";

/// The name of the counter that has a number for each vector.
const INTERRUPTS: &str = "interrupts";

/// All counters, in the order in which they are shown: the names of their files.
const COUNTERS: [(&str, Kind); 7] = [
    (INTERRUPTS, Kind::Total),
    ("doorbells", Kind::Total),
    ("wake_ups", Kind::Total),
    ("held_back", Kind::Total),
    ("opens", Kind::Present),
    ("mappings", Kind::Present),
    ("eventfds", Kind::Present),
];

/// What a counter counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What has happened since the driver was bound.
    Total,
    /// What there is at present.
    Present,
}

/// A counter and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub kind: Kind,
    /// Its value, or those of all armed vectors.
    values: Vec<u64>,
}

impl Counter {
    /// Its value, of all vectors together.
    pub fn sum(&self) -> u64 {
        self.values.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }

    /// As people read it.
    pub fn text(&self) -> String {
        let values: Vec<_> = self.values.iter().map(u64::to_string).collect();
        match values.is_empty() {
            true => "-".into(),
            false => values.join(" "),
        }
    }
}

/// What the driver had counted at a time. What it does not count is left out: its statistics can change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters(pub Vec<Counter>);

impl Counters {
    /// Reads those of the device with this directory in sysfs.
    pub fn read(device: &Path) -> Result<Self> {
        let directory = device.join(DIRECTORY);
        let read = COUNTERS
            .iter()
            .map(|(name, kind)| read(&directory, name, *kind));
        let found: Vec<_> = read.filter_map(Result::transpose).collect::<Result<_>>()?;
        match directory.exists() {
            true => Ok(Self(found)),
            false => Err(gone()),
        }
    }

    /// The interrupts of each armed vector.
    pub fn interrupts(&self) -> &[u64] {
        let found = self.0.iter().find(|counter| counter.name == INTERRUPTS);
        found.map_or(&[], |counter| &counter.values)
    }

    /// As members of an object.
    pub fn json(&self) -> Map<String, Value> {
        let member = |counter: &Counter| {
            let value = match counter.name {
                INTERRUPTS => json!(counter.values),
                _ => json!(counter.sum()),
            };
            (counter.name.to_string(), value)
        };
        self.0.iter().map(member).collect()
    }
}

fn read(directory: &Path, name: &'static str, kind: Kind) -> Result<Option<Counter>> {
    let path = directory.join(name);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => {
            return Err(gone());
        }
        Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
    };
    let values = text.split_whitespace().map(str::parse);
    let values: Result<Vec<u64>, _> = values.collect();
    let values = values.with_context(|| format!("{}: {text:?}", path.display()))?;
    Ok(Some(Counter { name, kind, values }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{exit_of, Exit};

    #[test]
    fn what_is_counted_is_shown_and_a_device_that_went_away_is_no_zero() {
        let device = tempfile::tempdir().unwrap();
        let away = Counters::read(device.path()).unwrap_err();
        assert_eq!(exit_of(&away), Exit::NoDevice);

        let directory = device.path().join(DIRECTORY);
        fs::create_dir(&directory).unwrap();
        for (name, text) in [
            ("interrupts", "12 0 3\n"),
            ("opens", "2\n"),
            ("later", "9\n"),
        ] {
            fs::write(directory.join(name), text).unwrap();
        }
        let counters = Counters::read(device.path()).unwrap();
        assert_eq!(counters.interrupts(), [12, 0, 3]);
        let object = json!({ "interrupts": [12, 0, 3], "opens": 2 });
        assert_eq!(Value::Object(counters.json()), object);
        let texts: Vec<_> = counters.0.iter().map(Counter::text).collect();
        assert_eq!(texts, ["12 0 3", "2"]);
        assert_eq!(counters.0[0].sum(), 15);

        // A device without vectors.
        fs::write(directory.join("interrupts"), "\n").unwrap();
        let counters = Counters::read(device.path()).unwrap();
        assert_eq!(counters.0[0].text(), "-");
        fs::write(directory.join("opens"), "many\n").unwrap();
        let wrong = Counters::read(device.path()).unwrap_err().to_string();
        assert!(wrong.contains("opens") && wrong.contains("many"), "{wrong}");
    }
}
