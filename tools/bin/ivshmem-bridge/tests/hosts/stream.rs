// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Numbered values from a program of one host to one of another, each of which is accounted for.

use std::time::Duration;

use test_limit::wait_until;

use super::end::End;
use super::host::{count, counters, Program};
use super::link::Hosts;

/// A sender at the first host, a reader at the second one, and what they have done.
pub struct Stream {
    sender: Program,
    reader: Program,
    pub from: End,
    pub to: End,
    pub sent: u64,
    pub seen: u64,
    pub missed: u64,
    last: u64,
    length: usize,
}

impl Stream {
    /// Begins with a value that has arrived. All have `length` bytes.
    pub fn begin(hosts: &Hosts, policy: &str, length: u32) -> Self {
        let topic = |direction| {
            format!("topic = [{{ key = \"stream\", kind = \"messages\", policy = \"{policy}\", {direction} }}]")
        };
        let [sender, reader] = [hosts.first.program(), hosts.second.program()];
        let mut from = hosts.first.bridge(&topic("to-zenoh = 0"));
        let mut to = hosts.second.bridge(&topic("from-zenoh = 1"));
        from.expect("joined");
        to.expect("joined");
        let mut stream = Self {
            sender,
            reader,
            from,
            to,
            sent: 0,
            seen: 0,
            missed: 0,
            last: 0,
            // CAST: A u32.
            length: length as usize,
        };
        wait_until("the first value arrives", || {
            stream.send();
            std::thread::sleep(Duration::from_millis(20));
            stream.read();
            stream.seen > 0
        });
        stream
    }

    /// Sends one value, with its number.
    pub fn send(&mut self) {
        self.sent += 1;
        let text = format!("{:0width$}", self.sent, width = self.length);
        self.sender.publish(&text);
    }

    /// Sees what has arrived: in order, nothing twice.
    pub fn read(&mut self) {
        while let Some((text, missed)) = self.reader.look() {
            let number = text.parse().unwrap();
            assert!(number > self.last, "{number} came after {}", self.last);
            self.last = number;
            self.seen += 1;
            self.missed += u64::from(missed);
        }
    }

    /// Of the values that Zenoh took.
    pub fn carried(&mut self) -> u64 {
        count(&mut self.from, "to_zenoh", "values")
    }

    /// Sends until nothing that was sent before is on its way, and checks that each value is accounted for: it was seen, or is
    /// counted where it was lost. Returns how many were lost between the bridges.
    pub fn settle(&mut self) -> u64 {
        wait_until("what comes last arrives", || {
            self.send();
            std::thread::sleep(Duration::from_millis(20));
            self.read();
            self.last == self.sent
        });
        let sent = counters(&mut self.from, "to_zenoh");
        let received = counters(&mut self.to, "from_zenoh");
        let number = |of: &serde_json::Value, name: &str| of[name].as_u64().unwrap();
        let told = format!("{sent} {received}");
        // The sender's bridge was there before the first value.
        assert_eq!(
            number(&sent, "values") + number(&sent, "missed"),
            self.sent,
            "{told}"
        );
        assert_eq!(
            number(&received, "values"),
            self.seen + self.missed,
            "{told}"
        );
        for name in ["too_long", "away", "repeated", "ours"] {
            assert_eq!(received[name], 0, "{told}");
        }
        number(&received, "lost")
    }
}
