// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What was carried, and what was not.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Serialize, Serializer};

/// A number that goes up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts so many more. A sum that does not fit begins again at 0: a stranger's numbers may be of any size.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// What it is.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

/// Of a topic that goes to Zenoh.
#[derive(Debug, Default, Serialize)]
pub struct Sent {
    /// Values that were given to Zenoh, whether anybody there wants them or not.
    pub values: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Messages that were written over in the memory before they could be read.
    pub missed: Counter,
    /// Values longer than what is carried.
    pub too_long: Counter,
    /// Those of them that Zenoh did not take.
    pub refused: Counter,
}

/// Of a topic that comes from Zenoh.
#[derive(Debug, Default, Serialize)]
pub struct Received {
    /// Values that were written into the memory.
    pub values: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Messages that another bridge sent and that did not arrive.
    pub lost: Counter,
    /// Values longer than what is carried, or than the topic has room for.
    pub too_long: Counter,
    /// Messages that came while the channel was away.
    pub away: Counter,
    /// Messages that came twice.
    pub repeated: Counter,
    /// Values that this bridge itself had sent.
    pub ours: Counter,
}

impl Sent {
    /// All that was lost here.
    pub fn losses(&self) -> u64 {
        sum([&self.missed, &self.too_long, &self.refused])
    }

    /// For people.
    pub fn to_text(&self) -> String {
        text(&[
            ("sent", &self.values),
            ("bytes", &self.bytes),
            ("missed", &self.missed),
            ("too long", &self.too_long),
            ("refused", &self.refused),
        ])
    }
}

impl Received {
    /// All that was lost on the way here, or here.
    pub fn losses(&self) -> u64 {
        sum([&self.lost, &self.too_long, &self.away])
    }

    /// For people.
    pub fn to_text(&self) -> String {
        text(&[
            ("received", &self.values),
            ("bytes", &self.bytes),
            ("lost", &self.lost),
            ("too long", &self.too_long),
            ("away", &self.away),
            ("repeated", &self.repeated),
            ("its own", &self.ours),
        ])
    }
}

fn sum<const N: usize>(counters: [&Counter; N]) -> u64 {
    let numbers = counters.map(Counter::get);
    numbers.into_iter().fold(0, u64::wrapping_add)
}

/// The first two whatever they are; of the others those that are not 0.
fn text(counters: &[(&str, &Counter)]) -> String {
    let shown = counters.iter().enumerate();
    let shown = shown.filter(|(number, (_, counter))| *number < 2 || counter.get() > 0);
    let shown = shown.map(|(_, (name, counter))| format!("{} {name}", counter.get()));
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_what_there_is() {
        let received = Received::default();
        assert_eq!(received.to_text(), "0 received, 0 bytes");
        received.values.add(2);
        received.bytes.add(30);
        received.lost.add(4);
        received.ours.add(1);
        assert_eq!(
            received.to_text(),
            "2 received, 30 bytes, 4 lost, 1 its own"
        );
        assert_eq!(received.losses(), 4);
    }

    #[test]
    fn numbers_of_any_size_do_no_harm() {
        let received = Received::default();
        received.lost.add(u64::MAX);
        received.lost.add(u64::MAX);
        received.away.add(3);
        assert_eq!(received.losses(), 1);
    }
}
