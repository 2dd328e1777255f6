// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Lines and round trips between a machine without the module and one that has it, each way.

use libtest_mimic::Failed;
use serde_json::Value;
use test_limit::limit_argument;
use vmbench::{Guest, Running, Signal};

use super::{Pair, PASSWD, PROGRAM};

const ROUNDS: u64 = 100;

/// One end: a machine, what names its device if anything has to, and its ID.
#[derive(Clone, Copy)]
struct End<'a> {
    guest: &'a Guest,
    device: Option<&'a str>,
    peer_id: u64,
}

impl<'a> End<'a> {
    fn start(self, line: &str, input: &str) -> Result<Running<'a>, Failed> {
        let device = self.device.iter().flat_map(|device| ["--device", device]);
        let words = [PROGRAM, "--json"].into_iter().chain(line.split(' '));
        let command = self.guest.command(words.chain(device));
        Ok(command.stdin(input).spawn()?)
    }
}

impl Pair<'_> {
    /// Tries something in both directions.
    fn either_way(
        &self,
        does: impl Fn(End<'_>, End<'_>) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let info = super::run(self.modern, "--json info")?.check()?;
        let info: Value = serde_json::from_str(&info.stdout_text())?;
        let modern = End {
            guest: self.modern,
            device: None,
            peer_id: info["peer_id"].as_u64().ok_or("no peer ID")?,
        };
        // Of the server's two peers it is the other one.
        let stock = End {
            guest: self.stock,
            device: Some(&self.address),
            peer_id: 1 - modern.peer_id,
        };
        does(stock, modern)?;
        does(modern, stock)
    }
}

/// One end is told who is there, and hears what is piped in at the other.
pub fn chat(pair: &Pair) -> Result<(), Failed> {
    let limit = limit_argument();
    pair.clear()?;
    pair.either_way(|listens, speaks| {
        let listener = listens.start(&format!("chat --listen -t {limit}"), "")?;
        let speaker = speaks.start(&format!("chat -t {limit}"), PASSWD)?;
        speaker.wait()?.check()?;
        let heard = listener.wait()?.check()?.stdout_text();
        let events: Vec<Value> = heard
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        let lines = events.iter().filter(|event| event["event"] == "line");
        let lines: Vec<_> = lines.map(|event| &event["line"]).collect();
        assert_eq!(lines, PASSWD.lines().collect::<Vec<_>>(), "{heard}");
        let others = events.iter().filter(|event| !event["peer_id"].is_null());
        let others: Vec<_> = others.collect();
        assert!(
            others
                .iter()
                .all(|event| event["peer_id"] == speaks.peer_id),
            "{heard}"
        );
        for event in ["here", "left"] {
            assert!(
                others.iter().any(|found| found["event"] == event),
                "{heard}"
            );
        }
        Ok(())
    })
}

/// One end measures what the other takes to answer.
pub fn ping(pair: &Pair) -> Result<(), Failed> {
    let limit = limit_argument();
    pair.either_way(|answers, asks| {
        let answering = answers.start("ping --serve", "")?;
        let line = format!("ping {} -c {ROUNDS} -i 0 -t {limit}", answers.peer_id);
        let measured = asks.start(&line, "")?.wait()?.check()?.stdout_text();
        let measured: Value = serde_json::from_str(&measured)?;
        assert_eq!(measured["round_trips"], ROUNDS);
        assert_eq!(measured["peer_id"], answers.peer_id);
        answering.signal(Signal::TERM)?;
        answering.wait()?;
        Ok(())
    })
}
